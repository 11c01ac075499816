//! Marks: they only grow, together or not at all.

use crate::{StoreError, Stores};

super::list![
    marks_only_grow,
    marks_are_raised_together,
    a_mark_refused_raises_none,
    marks_come_in_the_order_asked_for,
    of_concurrent_raises_the_highest_stays,
];

fn marks(marks: &[(&str, u64)]) -> Vec<(String, u64)> {
    marks.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

async fn get(stores: &Stores, names: &[&str]) -> Vec<u64> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    stores.marks.get(&names).await.expect("got")
}

async fn marks_only_grow(stores: Stores) {
    assert_eq!(get(&stores, &["grow"]).await, [0]);
    for (value, expected) in [(5, 5), (3, 5), (5, 5), (u64::MAX, u64::MAX), (0, u64::MAX)] {
        stores.marks.raise(&marks(&[("grow", value)])).await.expect("raised");
        assert_eq!(get(&stores, &["grow"]).await, [expected]);
    }
}

async fn marks_are_raised_together(stores: Stores) {
    stores.marks.raise(&marks(&[("together/a", 5), ("together/b", 5)])).await.expect("raised");
    stores.marks.raise(&marks(&[("together/a", 3), ("together/b", 9), ("together/c", 1)])).await.expect("raised");
    assert_eq!(get(&stores, &["together/a", "together/b", "together/c"]).await, [5, 9, 1]);
    // The same name twice: both are raises.
    stores.marks.raise(&marks(&[("together/a", 8), ("together/a", 7)])).await.expect("raised");
    assert_eq!(get(&stores, &["together/a"]).await, [8]);
    stores.marks.raise(&[]).await.expect("raised");
}

async fn a_mark_refused_raises_none(stores: Stores) {
    let long = "x".repeat(10_000);
    for bad in ["", long.as_str()] {
        let outcome = stores.marks.raise(&marks(&[("refused", 5), (bad, 1)])).await;
        assert!(matches!(outcome, Err(StoreError::Invalid(_))), "{outcome:?}");
    }
    assert_eq!(get(&stores, &["refused"]).await, [0]);
}

async fn marks_come_in_the_order_asked_for(stores: Stores) {
    stores.marks.raise(&marks(&[("order/1", 1), ("order/2", 2), ("order/3", 3)])).await.expect("raised");
    let asked = ["order/3", "order/1", "order/0", "order/3", "order/2"];
    assert_eq!(get(&stores, &asked).await, [3, 1, 0, 3, 2]);
    assert_eq!(get(&stores, &[]).await, [0; 0]);
}

async fn of_concurrent_raises_the_highest_stays(stores: Stores) {
    let raises: Vec<_> = (0..32)
        .map(|nth: u64| {
            let stores = stores.clone();
            let raised = marks(&[("race/up", nth), ("race/down", 31 - nth)]);
            tokio::spawn(async move { stores.marks.raise(&raised).await.expect("raised") })
        })
        .collect();
    for raise in raises {
        raise.await.expect("raised");
    }
    assert_eq!(get(&stores, &["race/up", "race/down"]).await, [31, 31]);
}
