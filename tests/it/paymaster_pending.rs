//! An operator's transactions that wait for their block: replaced, and overtaken by what others do.

use alloy::primitives::{Address, U256};
use devstack::{
    anvil::{self, Anvil},
    entry_points::V07,
};
use e2e::{Env, on_shared_stack, wait};

use crate::operator::{ETHER, Operator};

/// A chain of its own, which makes a block when a test says so, with a filled paymaster.
struct Slow<'a> {
    operator: Operator<'a>,
    paymaster: Address,
    /// The words that make a command send, as the owner, without waiting long.
    send: String,
}

/// A chain on which every transaction gets its block at once, until [`Slow::stops_mining`].
async fn chain(env: &Env, name: &str) -> Anvil {
    let options = anvil::Options {
        chain_id: env.endpoints.chain_id,
        slots_in_an_epoch: 1,
        block_time_seconds: 3600,
        port: None,
        log: env.stack.run.log(&format!("anvil-{name}")),
    };
    let chain = Anvil::start(&env.stack.tools, &options).await.unwrap();
    let code = env.stack.node().code(V07).await.unwrap();
    chain.node().set_code(V07, &code).await.unwrap();
    chain
}

impl<'a> Slow<'a> {
    async fn new(env: &'a Env, chain: &'a Anvil, name: &str) -> Self {
        let operator = Operator::new(env, name).await;
        let config = std::fs::read_to_string(&operator.config).unwrap();
        let (shared, own) = (env.endpoints.rpc_url.as_str(), chain.node().url().as_str());
        let changed = operator.folder.join("slow.toml");
        std::fs::write(&changed, config.replace(shared, own)).unwrap();
        let operator = Operator { node: chain.node(), config: changed, ..operator };
        for key in [&operator.owner, &operator.guardian] {
            operator.node.set_balance(key.address, U256::from(100) * ETHER).await.unwrap();
        }
        let paymaster = operator.deployed("0.7", "3ether").await;
        let send = format!("--key-file {} --send --wait-seconds 1", operator.owner.file);
        Self { operator, paymaster, send }
    }

    /// From here on a block comes once an hour, or when `mines` makes one.
    async fn stops_mining(&self) {
        let () = self.operator.node.request("evm_setIntervalMining", [3600]).await.unwrap();
    }

    async fn mines(&self) {
        let _: serde_json::Value =
            self.operator.node.request("evm_mine", serde_json::json!([])).await.unwrap();
    }

    async fn deposit(&self) -> U256 {
        self.operator.deposit(V07, self.paymaster).await
    }

    /// Somebody adds one ether with a tip that puts it first into the next block.
    async fn somebody_deposits_first(&self) {
        let Self { operator, paymaster, .. } = self;
        let fees = "--priority-fee-per-gas 50gwei --max-fee-per-gas 100gwei";
        let key = &operator.guardian.file;
        let deposit = format!("deposit {paymaster} --amount 1ether --key-file {key} {fees}");
        operator.fails(&format!("{deposit} --send --wait-seconds 1")).await.tells("in no block");
    }
}

#[test]
fn a_transaction_that_waits_is_replaced_and_not_sent_twice() {
    on_shared_stack(async |env| {
        let mut chain = chain(env, "replaces").await;
        let slow = Slow::new(env, &chain, "replaces").await;
        let Slow { operator, paymaster, send } = &slow;
        slow.stops_mining().await;
        let deposit = |amount: &str| format!("deposit {paymaster} --amount {amount}");
        let nonce = operator.nonce(operator.owner.address).await;
        let early = operator.fails(&format!("{} --replace {send}", deposit("1ether"))).await;
        early.tells("there is nothing to replace");

        let stuck = operator.fails(&format!("{} {send}", deposit("1ether"))).await;
        stuck.tells("is in no block after");
        stuck.tells("with --replace and higher fees");
        let behind = operator
            .does(&format!("{} --from {}", deposit("2ether"), operator.owner.address))
            .await;
        behind.tells(&format!("nonce {}", nonce + 1));

        let replace =
            |amount: &str, fees: &str| format!("{} --replace {fees} {send}", deposit(amount));
        let replaced = operator.fails(&replace("4ether", "")).await;
        replaced.tells(&format!("takes the place of transaction {nonce} of this account"));
        replaced.tells("is in no block after");
        // The market has not moved, so that the suggestion is what is offered already.
        operator.fails(&replace("3ether", "")).await.tells("underpriced");
        let higher = "--max-fee-per-gas 50gwei --priority-fee-per-gas 20gwei";
        operator.fails(&replace("2ether", higher)).await.tells("is in no block after");

        slow.mines().await;
        assert_eq!(slow.deposit().await, U256::from(5) * ETHER);
        assert_eq!(operator.nonce(operator.owner.address).await, nonce + 1);
        let late = operator.fails(&format!("{} --replace {send}", deposit("2ether"))).await;
        late.tells("there is nothing to replace");
        chain.stop().await.unwrap();
    });
}

#[test]
fn everything_is_what_is_there_when_the_withdrawal_lands() {
    on_shared_stack(async |env| {
        let mut chain = chain(env, "everything").await;
        let slow = Slow::new(env, &chain, "everything").await;
        let Slow { operator, paymaster, send } = &slow;
        slow.stops_mining().await;
        let withdraw = format!("withdraw {paymaster} --amount all {send}");
        operator.fails(&withdraw).await.tells("everything that is there when it lands");
        slow.somebody_deposits_first().await;
        slow.mines().await;
        assert_eq!(slow.deposit().await, U256::ZERO);
        chain.stop().await.unwrap();
    });
}

#[test]
fn a_migration_passes_on_what_was_withdrawn_and_not_what_was_planned() {
    on_shared_stack(async |env| {
        let mut chain = chain(env, "passes-on").await;
        let slow = Slow::new(env, &chain, "passes-on").await;
        let Slow { operator, paymaster, .. } = &slow;
        let salt = format!("--salt 0x{:064x}", 1);
        let key = &operator.owner.file;
        let deploy = format!("{} {salt} --key-file {key} --send", operator.deploy("0.7"));
        let new: Address = operator.does(&deploy).await.out.trim().parse().unwrap();
        slow.stops_mining().await;

        let migrate = format!(
            "migrate --from-paymaster {paymaster} --to-paymaster {new} --key-file {key} --send"
        );
        let overtaken = async {
            wait::until("the withdrawal waits", 30, async || {
                let pending: String = operator
                    .node
                    .request("eth_getTransactionCount", (operator.owner.address, "pending"))
                    .await
                    .unwrap();
                let pending = u64::from_str_radix(pending.trim_start_matches("0x"), 16).unwrap();
                let mined = operator.nonce(operator.owner.address).await;
                if pending > mined {
                    Ok(())
                } else {
                    Err(format!("{pending} sent, {mined} in blocks"))
                }
            })
            .await;
            slow.somebody_deposits_first().await;
            slow.mines().await;
            let () = operator.node.request("evm_setAutomine", [true]).await.unwrap();
        };
        let (migrated, ()) = tokio::join!(operator.does(&migrate), overtaken);
        migrated.tells("or as much as was withdrawn");
        migrated.tells("withdrawn          4 ether");
        assert_eq!(slow.deposit().await, U256::ZERO);
        assert_eq!(operator.deposit(V07, new).await, U256::from(4) * ETHER);
        chain.stop().await.unwrap();
    });
}
