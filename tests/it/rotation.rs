//! Another key of the same paymaster signs, at once and without a restart.

use alloy::primitives::Address;
use devstack::keys;
use e2e::{Env, User, Wallet, on_own_stack};
use erc4337::{
    UserOperation,
    sponsorship::{PaymasterData, PaymasterHeader, recover_signer},
};
use serde_json::Value;

async fn rotates_to(
    env: &Env,
    paymaster: Address,
    signer: &str,
    more: &[&str],
) -> Result<String, String> {
    let (paymaster, chain) = (paymaster.to_string(), env.endpoints.chain_id.to_string());
    let mut args = vec!["admin", "paymaster", "rotate", &paymaster, "--to", signer];
    args.extend(["--chain", &chain]);
    args.extend(more);
    env.stipend(&args).await.map_err(|error| error.to_string())
}

/// Whose signature a sponsored operation carries.
fn signer_of(user: &User, env: &Env, op: &Value) -> Address {
    let op: UserOperation = serde_json::from_value(op.clone()).unwrap();
    let fields = op.paymaster.as_ref().unwrap();
    let (header, (data, form)) =
        (PaymasterHeader::of(fields).unwrap(), PaymasterData::decode(&fields.data).unwrap());
    let digest = form.digest(&op, env.endpoints.chain_id, user.entry_point(), &header, None);
    recover_signer(digest.unwrap(), &data.signature).unwrap()
}

#[test]
fn a_standby_key_signs_from_the_moment_that_it_is_chosen() {
    on_own_stack(async |env| {
        let user = env.user("rotates", Wallet::SIMPLE_08).await;
        let paymaster = env.endpoints.paymasters["0.8"];
        for (name, signer) in
            [("dev", keys::SIGNER), ("standby", keys::STANDBY), ("dev", keys::SIGNER)]
        {
            let printed = rotates_to(env, paymaster, name, &["--send"]).await.unwrap();
            assert_eq!(printed.trim(), signer.to_string());
            let sent = user.sends(&user.increment()).await;
            assert_eq!(signer_of(&user, env, &sent.op), signer);
            user.settled_exactly(env, &sent).await;
        }
        // Without --send nothing changes.
        assert_eq!(rotates_to(env, paymaster, "standby", &[]).await.unwrap(), "");
        let sent = user.sends(&user.increment()).await;
        assert_eq!(signer_of(&user, env, &sent.op), keys::SIGNER);
        user.settled_exactly(env, &sent).await;

        let refused = rotates_to(env, paymaster, "nobody", &[]).await.unwrap_err();
        assert!(refused.contains("nobody is not among the signers"), "{refused}");
    });
}
