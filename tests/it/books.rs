//! The checks that end every test can fail.

use e2e::{Wallet, on_own_stack};

/// What breaks the books of the account `$1`, what mends them again, and what the check says meanwhile.
const DAMAGES: [(&str, &str, &str); 7] = [
    (
        "UPDATE accounts SET available_micropoints = available_micropoints + 1 WHERE account_id = $1",
        "UPDATE accounts SET available_micropoints = available_micropoints - 1 WHERE account_id = $1",
        "balances and the sum of entries",
    ),
    (
        "UPDATE entries SET amount_micropoints = amount_micropoints + 1 WHERE account_id = $1 AND seq = 3",
        "UPDATE entries SET amount_micropoints = amount_micropoints - 1 WHERE account_id = $1 AND seq = 3",
        "balances after entry 3",
    ),
    (
        "UPDATE entries SET recorded_at = recorded_at + interval '1 microsecond' WHERE account_id = $1 AND seq = 2",
        "UPDATE entries SET recorded_at = recorded_at - interval '1 microsecond' WHERE account_id = $1 AND seq = 2",
        "the hash of entry 2",
    ),
    (
        "UPDATE reservations SET reserved_micropoints = reserved_micropoints + 1 WHERE account_id = $1",
        "UPDATE reservations SET reserved_micropoints = reserved_micropoints - 1 WHERE account_id = $1",
        "what was reserved under",
    ),
    (
        "UPDATE reservations SET from_reserved_micropoints = from_reserved_micropoints - 1 WHERE account_id = $1",
        "UPDATE reservations SET from_reserved_micropoints = from_reserved_micropoints + 1 WHERE account_id = $1",
        "what was spent under",
    ),
    (
        "UPDATE grants SET max_cost_wei = max_cost_wei * 2 WHERE account_id = $1",
        "UPDATE grants SET max_cost_wei = max_cost_wei / 2 WHERE account_id = $1",
        "and its dearest grant",
    ),
    (WEI_MORE, WEI_LESS, "wei that the EntryPoint charged"),
];
/// One wei is less than a micropoint here, so that the price alone does not show it.
const WEI_MORE: &str =
    "UPDATE reservations SET settled_gas_cost_wei = settled_gas_cost_wei + 1 WHERE account_id = $1";
const WEI_LESS: &str =
    "UPDATE reservations SET settled_gas_cost_wei = settled_gas_cost_wei - 1 WHERE account_id = $1";

#[test]
fn a_micropoint_or_a_wei_that_is_amiss_is_noticed() {
    on_own_stack(async |env| {
        let user = env.user("damaged", Wallet::SIMPLE_07).await;
        let sent = user.sends(&user.increment()).await;
        user.lands(&user.request, &sent).await;
        env.make_final().await;
        user.settled_exactly(env, &sent).await;

        for (damage, repair, expected) in DAMAGES {
            env.as_owner(damage, &user.external_id).await;
            let noticed = user.books(env).await;
            let tanks = if damage == WEI_MORE { env.tanks(0).await } else { Ok(()) };
            env.as_owner(repair, &user.external_id).await;
            let noticed = noticed.expect_err(damage);
            assert!(noticed.contains(expected), "{damage}: {noticed}");
            if damage == WEI_MORE {
                assert!(tanks.expect_err(damage).contains("settlements and charges"));
            }
        }
        user.books_agree(env).await;
    });
}
