//! The vault: one winner per version for ever, tombstones, order of answers.

use chamberlain_core::id::{KeyVersion, RoomId};
use chamberlain_core::keys::RoomSecret;

use super::records::room;
use crate::{PutSecret, Stores};

super::list![
    a_secret_put_is_the_one_got,
    the_first_secret_of_a_version_stays,
    of_concurrent_puts_all_learn_the_same_winner,
    a_destroyed_version_is_never_used_again,
    several_secrets_come_in_the_order_asked_for,
];

fn secret(seed: u8) -> RoomSecret {
    RoomSecret::from_bytes(&[seed.max(1); 32]).expect("less than the order of the group")
}

async fn put(stores: &Stores, room: RoomId, version: u32, secret: &RoomSecret) -> PutSecret {
    stores.vault.put_if_absent(room, KeyVersion(version), secret).await.expect("put")
}

async fn a_secret_put_is_the_one_got(stores: Stores) {
    let (here, there) = (room("vault"), room("vault beside"));
    assert_eq!(stores.vault.get(here, KeyVersion(0)).await, Ok(None));
    assert_eq!(put(&stores, here, 0, &secret(1)).await, PutSecret::Winner(secret(1)));
    assert_eq!(put(&stores, here, 1, &secret(2)).await, PutSecret::Winner(secret(2)));
    assert_eq!(put(&stores, there, 0, &secret(3)).await, PutSecret::Winner(secret(3)));
    assert_eq!(stores.vault.get(here, KeyVersion(0)).await, Ok(Some(secret(1))));
    assert_eq!(stores.vault.get(here, KeyVersion(1)).await, Ok(Some(secret(2))));
    assert_eq!(stores.vault.get(here, KeyVersion(2)).await, Ok(None));
    assert_eq!(stores.vault.get(there, KeyVersion(0)).await, Ok(Some(secret(3))));
}

async fn the_first_secret_of_a_version_stays(stores: Stores) {
    let room = room("vault first");
    put(&stores, room, 4, &secret(1)).await;
    for _ in 0..2 {
        assert_eq!(put(&stores, room, 4, &secret(2)).await, PutSecret::Winner(secret(1)));
    }
    assert_eq!(put(&stores, room, 4, &secret(1)).await, PutSecret::Winner(secret(1)));
    assert_eq!(stores.vault.get(room, KeyVersion(4)).await, Ok(Some(secret(1))));
}

async fn of_concurrent_puts_all_learn_the_same_winner(stores: Stores) {
    let room = room("vault race");
    let puts: Vec<_> = (1..=24)
        .map(|seed| {
            let stores = stores.clone();
            tokio::spawn(async move { put(&stores, room, 0, &secret(seed)).await })
        })
        .collect();
    let stored = async || stores.vault.get(room, KeyVersion(0)).await.expect("got").expect("there");
    for put in puts {
        let learned = put.await.expect("put");
        assert_eq!(learned, PutSecret::Winner(stored().await));
    }
}

async fn a_destroyed_version_is_never_used_again(stores: Stores) {
    let room = room("vault destroyed");
    put(&stores, room, 0, &secret(1)).await;
    put(&stores, room, 1, &secret(2)).await;
    for _ in 0..2 {
        stores.vault.destroy(room, KeyVersion(0)).await.expect("destroyed");
        assert_eq!(stores.vault.get(room, KeyVersion(0)).await, Ok(None));
        assert_eq!(put(&stores, room, 0, &secret(1)).await, PutSecret::Destroyed);
    }
    assert_eq!(stores.vault.get(room, KeyVersion(1)).await, Ok(Some(secret(2))));
    // One that never had a secret is blocked as well.
    stores.vault.destroy(room, KeyVersion(9)).await.expect("destroyed");
    assert_eq!(put(&stores, room, 9, &secret(1)).await, PutSecret::Destroyed);
    let both = [KeyVersion(0), KeyVersion(1), KeyVersion(9)];
    assert_eq!(stores.vault.get_many(room, &both).await, Ok(vec![None, Some(secret(2)), None]));
}

async fn several_secrets_come_in_the_order_asked_for(stores: Stores) {
    let room = room("vault many");
    for version in 0..5 {
        put(&stores, room, version, &secret(version as u8 + 1)).await;
    }
    let asked = [3, 0, 7, 3, 4].map(KeyVersion);
    let expected = [Some(4), Some(1), None, Some(4), Some(5)].map(|seed| seed.map(secret));
    assert_eq!(stores.vault.get_many(room, &asked).await, Ok(expected.to_vec()));
    assert_eq!(stores.vault.get_many(room, &[]).await, Ok(Vec::new()));
}
