//! Marks in the embedded store: numbers that only grow.

use redb::{ReadableTable, StorageError};

use super::Embedded;
use super::committer::{Operation, Verdict};
use super::tables::{MARKS, Tables};
use crate::{Marks, Pending, rules};

impl Marks for Embedded {
    fn raise<'a>(&'a self, marks: &'a [(String, u64)]) -> Pending<'a, ()> {
        Box::pin(async move {
            rules::check_marks(marks)?;
            self.commit(Raise { marks: marks.to_vec() }).await
        })
    }

    fn get<'a>(&'a self, names: &'a [String]) -> Pending<'a, Vec<u64>> {
        let names = names.to_vec();
        Box::pin(self.read(move |txn| {
            let table = txn.open_table(MARKS)?;
            let mut values = Vec::with_capacity(names.len());
            for name in &names {
                values.push(table.get(name.as_str())?.map_or(0, |stored| stored.value()));
            }
            Ok(values)
        }))
    }
}

struct Raise {
    marks: Vec<(String, u64)>,
}

impl Operation for Raise {
    type Answer = ();

    fn weight(&self) -> usize {
        self.marks.len() * 64 + 256
    }

    fn apply(&mut self, tables: &mut Tables<'_>) -> Result<Verdict<()>, StorageError> {
        let mut verdict = Verdict::Same(());
        for (name, value) in &self.marks {
            let stored = tables.marks.get(name.as_str())?.map_or(0, |stored| stored.value());
            if *value > stored {
                tables.marks.insert(name.as_str(), value)?;
                verdict = Verdict::Changed(());
            }
        }
        Ok(verdict)
    }
}
