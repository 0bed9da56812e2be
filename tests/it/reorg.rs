//! The chain's word is provisional until it is final.

use alloy::{primitives::Bytes, providers::Provider};
use e2e::{Wallet, on_own_stack};

#[test]
fn the_rest_returns_only_when_the_block_is_final() {
    on_own_stack(async |env| {
        let user = env.user("finalises", Wallet::SIMPLE_07).await;
        let before = user.balances().await;
        let sent = user.sends(&user.increment()).await;
        let provisional = user.reaches("settled_provisional", &sent.op).await;
        let cost = provisional.settlement.as_ref().unwrap().cost;
        let held = user.balances().await;
        assert_eq!(held.spent, cost);
        assert_eq!(held.reserved, provisional.reserved - cost, "the rest is still held");
        assert_eq!(held.available, before.available - provisional.reserved);
        user.books_agree(env).await;

        env.make_final().await;
        user.settled_exactly(env, &sent).await;
        let after = user.balances().await;
        assert_eq!((after.reserved, after.spent), (0, cost));
        assert_eq!(after.available, before.available - cost);
    });
}

#[test]
fn a_reorganisation_undoes_a_settlement_and_the_next_block_redoes_it() {
    on_own_stack(async |env| {
        let user = env.user("reorganised", Wallet::SIMPLE_08).await;
        let sent = user.sends(&user.increment()).await;
        let first = user.reaches("settled_provisional", &sent.op).await;
        let first = first.settlement.unwrap();
        let provider = env.stack.node().provider();
        let bundle: Bytes = provider
            .raw_request("eth_getRawTransactionByHash".into(), (first.transaction_hash,))
            .await
            .unwrap();

        env.reorganise_from(first.block_number, first.block_hash).await;
        let undone = user.reaches("open", &sent.op).await;
        assert_eq!(undone.settlement, None);
        let held = user.balances().await;
        assert_eq!((held.reserved, held.spent), (undone.reserved, 0), "everything is held again");
        user.books_agree(env).await;

        // Whoever sees the bundle may send it again.
        let again = provider.send_raw_transaction(&bundle).await.unwrap();
        assert_eq!(*again.tx_hash(), first.transaction_hash);
        let second = user.reaches("settled_provisional", &sent.op).await.settlement.unwrap();
        assert_ne!(second.block_hash, first.block_hash);
        env.make_final().await;
        user.settled_exactly(env, &sent).await;
        let kinds: Vec<_> = env.ledger.entries(&user.external_id).await;
        let kinds: Vec<_> = kinds.iter().map(|entry| entry.kind.as_str()).collect();
        assert_eq!(kinds, ["credit", "reserve", "confirm", "undo", "confirm", "finalise"]);
    });
}
