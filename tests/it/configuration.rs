//! What an operator changes in the configuration does not change what was promised before.

use alloy::primitives::Address;
use e2e::{Wallet, on_own_stack};

const PAYMASTER: &str = "\n[[chains.paymasters]]\n";

/// The configuration without the paymaster at this address.
fn without(config: &str, paymaster: Address) -> String {
    let named = format!("address = \"{paymaster}\"");
    let left: Vec<_> = config.split(PAYMASTER).filter(|part| !part.contains(&named)).collect();
    assert_eq!(left.len() + 1, config.split(PAYMASTER).count(), "it names {paymaster} once");
    left.join(PAYMASTER)
}

/// The configuration with another paymaster of the same EntryPoint in its place.
fn replaced(config: &str, paymaster: Address) -> String {
    config.replace(&paymaster.to_string(), &Address::repeat_byte(0x77).to_string())
}

#[test]
fn an_operation_of_a_paymaster_that_left_the_configuration_is_settled() {
    on_own_stack(async |env| {
        let paymaster = env.endpoints.paymasters["0.7"];
        for (name, change) in [("left", without as fn(&str, _) -> _), ("replaced", replaced)] {
            let user = env.user(name, Wallet::SIMPLE_07).await;
            let request = user.increment();
            env.stack.bundler.hold().await.unwrap();
            let sent = user.sends(&request).await;
            assert_eq!(user.reaches("open", &sent.op).await.paymaster, paymaster);

            env.restart_service_with(|config| change(config, paymaster)).await;
            env.stack.bundler.bundle_now().await.unwrap();
            assert!(user.lands(&request, &sent).await.success);
            env.stack.bundler.release().await.unwrap();
            env.make_final().await;
            user.settled_exactly(env, &sent).await;
            env.restart_service().await;
        }
    });
}
