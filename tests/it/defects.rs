//! A row that is broken holds up nobody but its owner, and gives nothing away.

use e2e::{Wallet, on_own_stack};

/// The reservation's price is of a block before the first, which no program can read. Done twice, it is undone.
const BREAK: &str = "UPDATE reservations SET price_block = -1 - price_block WHERE account_id = $1";
/// An operator who has mended the row lets the event be applied again.
const APPLY_AGAIN: &str = "UPDATE chain_events e SET progress = 'pending', set_aside_reason = NULL
    FROM reservations r WHERE r.account_id = $1 AND r.sender = e.sender AND r.nonce = e.nonce
        AND e.set_aside_reason = 'defect'";

#[test]
fn an_event_whose_reservation_is_broken_is_set_aside_and_holds_up_nobody() {
    on_own_stack(async |env| {
        let broken = env.user("broken", Wallet::SIMPLE_07).await;
        let whole = env.user("whole", Wallet::SIMPLE_08).await;
        let abandoning = env.user("abandoning", Wallet::SIMPLE_07).await;
        env.stack.bundler.hold().await.unwrap();
        let first = broken.sends(&broken.increment()).await;
        let held = broken.reaches("open", &first.op).await;
        let abandoned = abandoning.prepares(&abandoning.increment()).await;
        let last_window = abandoning.reservation().await.last_valid_until;
        env.as_owner(BREAK, &broken.external_id).await;
        env.stack.bundler.bundle_now().await.unwrap();
        assert!(broken.lands(&broken.request, &first).await.success);
        env.stack.bundler.release().await.unwrap();

        let second = whole.sends(&whole.increment()).await;
        assert!(whole.lands(&whole.request, &second).await.success);
        env.make_final().await;
        whole.settled_exactly(env, &second).await;
        assert_eq!(env.ledger.set_aside().await, ["defect"]);

        let left = last_window.saturating_sub(env.chain_time().await);
        env.pass_seconds(left + 1).await;
        env.make_final().await;
        abandoning.reaches("released", &abandoned).await;
        let kept = broken.reservation().await;
        assert_eq!(kept, held, "the releaser passed by what landed");

        env.as_owner(BREAK, &broken.external_id).await;
        env.as_owner(APPLY_AGAIN, &broken.external_id).await;
        broken.settled_exactly(env, &first).await;
    });
}
