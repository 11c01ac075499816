//! Marks in the server: numbers that only grow.
//!
//! All marks of a site are one hash, since any of them may be raised together, and together is one slot of a cluster and one
//! script. The script compares them as decimal text: the numbers of a script are not exact beyond 2^53.

use redis::cmd;

use super::Valkey;
use super::script::{LATER, script};
use crate::{Marks, Pending, StoreError, rules};

/// Most marks raised or asked for at once.
pub(super) const MARKS_MAX: usize = 10_000;

/// Raises marks: name and value in turn.
const RAISE: &str = "
for at = 1, #ARGV, 2 do
  local stored = redis.call('HGET', KEYS[1], ARGV[at])
  if not stored or later(ARGV[at + 1], stored) then redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
end
return 1
";

/// What is sent.
pub(super) const SCRIPT: &[&str] = &[LATER, RAISE];

impl Marks for Valkey {
    fn raise<'a>(&'a self, marks: &'a [(String, u64)]) -> Pending<'a, ()> {
        Box::pin(async move {
            rules::check_marks(marks)?;
            check_count(marks.len())?;
            if marks.is_empty() {
                return Ok(());
            }
            let key = self.keys().marks();
            let mut raise = script(SCRIPT, &[&key]);
            for (name, value) in marks {
                raise.arg(name).arg(*value);
            }
            let _done: u64 = self.link().write(&key, raise).await?;
            Ok(())
        })
    }

    fn get<'a>(&'a self, names: &'a [String]) -> Pending<'a, Vec<u64>> {
        Box::pin(async move {
            let mut values = Vec::with_capacity(names.len());
            for names in names.chunks(MARKS_MAX) {
                let mut get = cmd("HMGET");
                get.arg(self.keys().marks()).arg(names);
                let stored: Vec<Option<u64>> = self.link().read(&get).await?;
                values.extend(stored.into_iter().map(Option::unwrap_or_default));
            }
            if values.len() == names.len() {
                Ok(values)
            } else {
                Err(StoreError::Corrupt("fewer marks came than were asked for".into()))
            }
        })
    }
}

fn check_count(count: usize) -> Result<(), StoreError> {
    if count <= MARKS_MAX {
        return Ok(());
    }
    Err(StoreError::Invalid(format!("{count} marks at once; {MARKS_MAX} go")))
}
