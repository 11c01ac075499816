//! The directory: batches, pages, and home sites that never change.

use std::collections::BTreeMap;

use chamberlain_core::id::AccountId;

use super::records::account as id;
use crate::{Account, Group, StoreError, Stores};

super::list![
    accounts_are_got_in_batches,
    an_account_put_again_is_replaced,
    another_home_site_is_refused_with_all_its_batch,
    a_page_of_accounts_says_whether_there_are_more,
];

fn account(name: &str, site: &str) -> Account {
    Account::new(id(name), site.parse().expect("sites in cases are valid"), format!("{name} of {site}"))
}

async fn get(stores: &Stores, names: &[&str]) -> BTreeMap<AccountId, Account> {
    let ids: Vec<AccountId> = names.iter().map(|name| id(name)).collect();
    stores.directory.get(&ids).await.expect("got")
}

fn by_id(accounts: &[Account]) -> BTreeMap<AccountId, Account> {
    accounts.iter().map(|account| (account.account.clone(), account.clone())).collect()
}

async fn accounts_are_got_in_batches(stores: Stores) {
    let group = |name: &str| Some(Group { id: name.to_lowercase(), name: name.to_owned() });
    let full = Account {
        local_name: Some("艾达".to_owned()),
        bot: true,
        disabled: true,
        section: group("Engines"),
        department: group("Analysis"),
        admin: true,
        ..account("batch.full", "home")
    };
    let batch = [account("batch.a", "home"), full, account("batch.b", "away")];
    stores.directory.put(&batch).await.expect("put");
    stores.directory.put(&[]).await.expect("put");
    assert_eq!(get(&stores, &["batch.a", "batch.b", "batch.full", "batch.nobody"]).await, by_id(&batch));
    assert_eq!(get(&stores, &["batch.a", "batch.a"]).await, by_id(&batch[..1]));
    assert_eq!(get(&stores, &[]).await, BTreeMap::new());
}

async fn an_account_put_again_is_replaced(stores: Stores) {
    let first = account("again", "home");
    let second = Account { name: "Ada".to_owned(), disabled: true, ..first.clone() };
    stores.directory.put(std::slice::from_ref(&first)).await.expect("put");
    stores.directory.put(std::slice::from_ref(&second)).await.expect("put");
    assert_eq!(get(&stores, &["again"]).await, by_id(std::slice::from_ref(&second)));
    // Twice in one batch: the later one stays.
    stores.directory.put(&[second, first.clone()]).await.expect("put");
    assert_eq!(get(&stores, &["again"]).await, by_id(&[first]));
}

async fn another_home_site_is_refused_with_all_its_batch(stores: Stores) {
    let stored = account("settled", "home");
    stores.directory.put(std::slice::from_ref(&stored)).await.expect("put");
    let moved = [account("settled.new", "home"), account("settled", "away"), account("settled.newer", "home")];
    let twice = [account("settled.new", "home"), account("settled.new", "away")];
    for batch in [&moved[..], &twice] {
        let outcome = stores.directory.put(batch).await;
        assert!(matches!(outcome, Err(StoreError::Invalid(_))), "{outcome:?}");
    }
    assert_eq!(get(&stores, &["settled", "settled.new", "settled.newer"]).await, by_id(&[stored]));
}

async fn a_page_of_accounts_says_whether_there_are_more(stores: Stores) {
    let mut accounts: Vec<Account> = (0..25).map(|nth| account(&format!("page.{:02}", nth * 7 % 25), "home")).collect();
    stores.directory.put(&accounts).await.expect("put");
    accounts.sort_by(|one, other| one.account.cmp(&other.account));
    for limit in [1, 10, 24, 25, 100] {
        let mut seen: Vec<Account> = Vec::new();
        loop {
            let after = seen.last().map(|account| account.account.clone());
            let page = stores.directory.list(after.as_ref(), limit).await.expect("listed");
            assert!(page.accounts.len() <= limit);
            assert!(page.accounts.len() == limit || !page.more, "a short page is the last");
            seen.extend(page.accounts);
            if !page.more {
                break;
            }
        }
        assert!(seen.is_sorted_by(|one, other| one.account < other.account), "pages of {limit}");
        // Others may share the stores.
        seen.retain(|account| account.account.as_str().starts_with("page."));
        assert_eq!(seen, accounts, "pages of {limit}");
    }
}
