//! `chamberlain account`.

use std::io::Read;
use std::path::PathBuf;

use chamberlain_core::id::AccountId;
use chamberlain_core::room::Outcome;
use chamberlain_stores::Account as Stored;
use clap::{Args, Subcommand};
use hyper::Method;
use serde::{Deserialize, Serialize};

use super::door::{Remote, through};
use super::import::{self, Entry};
use super::output::{Table, json, line, shown};
use super::{Failure, Place};
use crate::client::{Client, ClientError};

/// Accounts sent at once, at first.
const BATCH: usize = 500;
/// Accounts of a page.
const PAGE: usize = 500;
/// Most bytes of a file that is imported.
const FILE_MAX: u64 = 64 * 1024 * 1024;

/// The accounts of the directory
#[derive(Subcommand, Debug)]
pub(super) enum Account {
    /// Add or replace accounts from a file: JSON lines, or CSV with a heading
    #[command(
        after_help = "Example of CSV:\n  account,name,bot,section_id,section_name,admin\n  ada,Ada Lovelace,,s1,Analysis,yes\n\n\
        Columns: account, site, name, local_name, bot, disabled, section_id, section_name, department_id, department_name, admin.\n\
        JSON lines hold the same, with section and department as {\"id\":..., \"name\":...}. Every line is checked before any\n\
        account is sent; `disabled` left out leaves an account as it is."
    )]
    Import {
        /// The file; `-` for standard input
        file: PathBuf,
        #[command(flatten)]
        at: At,
    },
    /// List all accounts
    List {
        /// As JSON lines, fit for import
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        at: At,
    },
    /// Show an account
    Show {
        /// The account
        account: AccountId,
        #[command(flatten)]
        at: At,
    },
    /// Shut an account out: of its connections, and of every room it is in
    Disable {
        /// The account
        account: AccountId,
        #[command(flatten)]
        at: At,
    },
    /// Let an account in again; it is in no room until it is added
    Enable {
        /// The account
        account: AccountId,
        #[command(flatten)]
        at: At,
    },
}

/// Where to.
#[derive(Args, Debug)]
pub(super) struct At {
    #[command(flatten)]
    pub(super) place: Place,
    #[command(flatten)]
    pub(super) remote: Remote,
}

#[derive(Deserialize)]
struct Page {
    accounts: Vec<Stored>,
    more: bool,
}

#[derive(Serialize)]
struct Put<'a> {
    accounts: &'a [Entry],
}

#[derive(Deserialize)]
struct WasPut {
    put: usize,
}

impl Account {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Import { file, at } => {
                let entries = import::parse(&read(&file)?)
                    .map_err(|why| Failure::usage(format!("{}:\n{why}", file.display())))?;
                through(&at.place, &at.remote, async |client| import(&client, entries).await).await
            }
            Self::List { json, at } => through(&at.place, &at.remote, async |client| list(&client, json).await).await,
            Self::Show { account, at } => {
                let path = format!("/v1/admin/accounts/{}", in_path(&account));
                through(&at.place, &at.remote, async |client| show(&client.get(&path).await?)).await
            }
            Self::Disable { account, at } => {
                through(&at.place, &at.remote, async |client| {
                    let rooms = disable(&client, &account).await?;
                    line(format!("{account} is shut out, and was removed from {rooms} rooms"))
                })
                .await
            }
            Self::Enable { account, at } => {
                let path = format!("/v1/admin/accounts/{}/enable", in_path(&account));
                through(&at.place, &at.remote, async |client| show(&client.post(&path).await?)).await
            }
        }
    }
}

fn read(file: &PathBuf) -> Result<String, Failure> {
    let failed = |why: std::io::Error| Failure::failed(format!("{}: {why}", file.display()));
    let source: Box<dyn Read> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(file).map_err(failed)?)
    };
    let mut text = String::new();
    source.take(FILE_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_MAX {
        return Err(Failure::usage(format!("{}: more than {FILE_MAX} bytes; import it in parts", file.display())));
    }
    Ok(text)
}

async fn import(client: &Client, mut entries: Vec<Entry>) -> Result<(), Failure> {
    // Being shut out is more than an entry: rooms must be left and connections ended, one account at a time.
    let mut shut_out = Vec::new();
    for entry in &mut entries {
        if entry.disabled == Some(true) {
            shut_out.push(entry.account.clone());
            entry.disabled = None;
        }
    }
    let mut batch = BATCH;
    let mut done = 0;
    while done < entries.len() {
        let some = &entries[done..entries.len().min(done + batch)];
        match client.call::<WasPut>(Method::PUT, "/v1/admin/accounts", Some(&Put { accounts: some })).await {
            Ok(WasPut { put }) => done += put.clamp(1, some.len()),
            // The server takes fewer at once.
            Err(ClientError::Refused { reason, .. })
                if batch > 1 && matches!(reason.as_str(), "too_many" | "too_large") =>
            {
                batch /= 2
            }
            Err(why) if done > 0 => {
                return Err(Failure::failed(format!("{done} of {} accounts are in; then: {why}", entries.len())));
            }
            Err(why) => return Err(why.into()),
        }
    }
    for account in &shut_out {
        disable(client, account).await?;
    }
    line(format!("{} accounts are in, {} of them shut out", entries.len(), shut_out.len()))
}

async fn disable(client: &Client, account: &AccountId) -> Result<u32, Failure> {
    match client.post(&format!("/v1/admin/accounts/{}/disable", in_path(account))).await? {
        Outcome::Disabled { rooms } => Ok(rooms),
        other => Err(Failure::failed(format!("the server answered {other:?}"))),
    }
}

async fn list(client: &Client, as_json: bool) -> Result<(), Failure> {
    let mut table = Table::new(&["ACCOUNT", "NAME", "SITE", ""]);
    let mut after = String::new();
    loop {
        let page: Page = client.get(&format!("/v1/admin/accounts?limit={PAGE}{after}")).await?;
        for account in &page.accounts {
            if as_json {
                json(account)?;
            } else {
                table.row(vec![account.account.to_string(), name(account), account.site.to_string(), marks(account)]);
            }
        }
        match page.accounts.last() {
            Some(last) if page.more => after = format!("&after={}", in_path(&last.account)),
            _ => break,
        }
    }
    if as_json { Ok(()) } else { table.print() }
}

fn name(account: &Stored) -> String {
    chamberlain_core::room::display_name(&account.account, &account.name, account.local_name.as_deref())
}

fn marks(account: &Stored) -> String {
    let marks = [(account.admin, "administrator"), (account.bot, "bot"), (account.disabled, "shut out")];
    marks.iter().filter(|(is, _)| *is).map(|(_, mark)| *mark).collect::<Vec<_>>().join(", ")
}

fn show(account: &Stored) -> Result<(), Failure> {
    let group = |group: &Option<chamberlain_stores::Group>| {
        group.as_ref().map_or("-".to_owned(), |group| format!("{} ({})", group.name, group.id))
    };
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    for (label, value) in [
        ("account", account.account.to_string()),
        ("name", name(account)),
        ("site", account.site.to_string()),
        ("administrator", yes(account.admin)),
        ("bot", yes(account.bot)),
        ("shut out", yes(account.disabled)),
        ("section", group(&account.section)),
        ("department", group(&account.department)),
    ] {
        line(format!("{label:14} {}", shown(&value)))?;
    }
    Ok(())
}

/// An account as part of a path or a query. Its form leaves `+` and `@` alone to be written otherwise.
pub(super) fn in_path(account: &AccountId) -> String {
    account.as_str().replace('+', "%2B").replace('@', "%40")
}
