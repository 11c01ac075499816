//! A run as one page that a newcomer can read: who said what to whom, what went wrong, who held what at each moment.
//!
//! The page carries everything it needs: no network, no build, it opens from a file. It is a pure function of the story and
//! its heading, so that a page in the tree can be made again and compared.

mod holdings;
mod names;
mod page;
mod picture;
mod words;

use crate::judge::Objection;
use crate::story::Story;

/// What stands above the picture.
#[derive(Debug, Clone, Default)]
pub struct Heading {
    /// What is shown: the scenario.
    pub scenario: String,
    /// Where its decisions come from: `seed 7`, or a tape's name.
    pub source: String,
    /// Short facts: decisions, events.
    pub facts: Vec<String>,
    /// What the run drew for itself before it began.
    pub configuration: String,
    /// Commands, each with what it does.
    pub commands: Vec<(String, String)>,
}

/// The page of a story.
pub fn page(story: &Story, heading: &Heading, objections: &[Objection]) -> String {
    let names = names::Names::of(story);
    let picture = picture::draw(story, &names, objections);
    page::write(&names, &picture, heading, objections)
}

/// The steps of a story as lines of text: what [`page`] shows, for a terminal.
pub fn steps(story: &Story, objections: &[Objection]) -> String {
    let names = names::Names::of(story);
    let picture = picture::draw(story, &names, objections);
    page::text(&picture)
}

/// Words about a story, with names for the ids of its rooms, requests and messages.
pub fn named(story: &Story, words: &[&str]) -> Vec<String> {
    let names = names::Names::of(story);
    words.iter().map(|words| names.within(words)).collect()
}
