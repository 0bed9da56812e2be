//! Both ledgers, read apart from the service: the points' rows in PostgreSQL, the gas tank on chain.

use alloy::primitives::{Address, B256, U256};
use alloy::sol;
use devstack::Deployment;
use devstack::DeploymentOptions;
use sqlx::{Connection, PgConnection};

use super::client::Done;
use super::of_version;
use crate::Failure;
use crate::dev::Running;

sol! {
    function balanceOf(address account) external view returns (uint256);
    function countOf(address caller) external view returns (uint256);
}

/// What both ledgers said before the operation.
pub(super) struct Books<'a> {
    running: &'a Running,
    entry_point: Address,
    paymaster: Address,
    wallet: Address,
    deposit_before: U256,
}

impl<'a> Books<'a> {
    pub(super) async fn open(
        running: &'a Running,
        version: &str,
        wallet: Address,
    ) -> Result<Self, Failure> {
        let chain = &running.stack.chain;
        let entry_point = of_version(&chain.entry_points, version)?;
        let paymaster = of_version(&chain.paymasters, version)?;
        let deposit_before = deposit(running, entry_point, paymaster).await?;
        Ok(Self { running, entry_point, paymaster, wallet, deposit_before })
    }

    /// What the wallet holds in ETH.
    pub(super) async fn wallet_wei(&self) -> Result<U256, Failure> {
        let node = self.running.stack.node();
        Ok(node.request("eth_getBalance", (self.wallet, "latest")).await?)
    }

    /// How often the wallet has called the counter.
    pub(super) async fn count_of(&self, caller: Address) -> Result<U256, Failure> {
        let stack = &self.running.stack;
        Ok(stack.node().view(stack.chain.counter, &countOfCall { caller }).await?)
    }

    /// Fails unless the deposit fell by what was settled, the points are that by the price, and every
    /// balance is the sum of its entries.
    pub(super) async fn agree(
        &self,
        user: &str,
        done: &Done,
        transaction: &B256,
    ) -> Result<(), Failure> {
        let deposit = deposit(self.running, self.entry_point, self.paymaster).await?;
        let paid = self.deposit_before.saturating_sub(deposit);
        expect("the deposit fell by", &paid.to_string(), &done.gas_cost)?;
        let points = DeploymentOptions::default().micropoints(paid).ok_or("no price")?;
        let mut database = connect(&self.running.deployment).await?;
        let row: (i64, i64, i64, bool, i64, Vec<u8>) =
            sqlx::query_as(BOOKS).bind(user).fetch_one(&mut database).await?;
        let (spent, reserved, entry_spent, balanced, settlements, settled_in) = row;
        expect("micropoints spent by the entries", &entry_spent.to_string(), &points.to_string())?;
        expect("micropoints spent by the account", &spent.to_string(), &points.to_string())?;
        expect("micropoints still reserved", &reserved.to_string(), "0")?;
        expect("balances are the sums of their entries", &balanced.to_string(), "true")?;
        expect("settlements", &settlements.to_string(), "1")?;
        expect("settled by", &B256::try_from(&*settled_in)?.to_string(), &transaction.to_string())?;
        Ok(database.close().await?)
    }
}

/// Everything about one user's points that must agree with the chain, by sums over the rows.
const BOOKS: &str = "
    WITH account AS (
        SELECT a.* FROM accounts a JOIN account_names n USING (tenant_id, account_id)
        WHERE n.external_id = $1),
    sums AS (
        SELECT
            coalesce(sum(amount_micropoints) FILTER (WHERE to_column = 'available'), 0)
                - coalesce(sum(amount_micropoints) FILTER (WHERE from_column = 'available'), 0) AS available,
            coalesce(sum(amount_micropoints) FILTER (WHERE to_column = 'reserved'), 0)
                - coalesce(sum(amount_micropoints) FILTER (WHERE from_column = 'reserved'), 0) AS reserved,
            coalesce(sum(amount_micropoints) FILTER (WHERE to_column = 'spent'), 0)
                - coalesce(sum(amount_micropoints) FILTER (WHERE from_column = 'spent'), 0) AS spent
        FROM entries JOIN account USING (tenant_id, account_id))
    SELECT account.spent_micropoints, account.reserved_micropoints, sums.spent::bigint,
        account.available_micropoints = sums.available AND account.reserved_micropoints = sums.reserved
            AND account.spent_micropoints = sums.spent,
        (SELECT count(*) FROM reservations r JOIN account USING (tenant_id, account_id)
            WHERE r.state = 'settled_final'),
        (SELECT r.settled_transaction_hash FROM reservations r
            JOIN account USING (tenant_id, account_id) WHERE r.state = 'settled_final')
    FROM account, sums";

async fn connect(deployment: &Deployment) -> Result<PgConnection, Failure> {
    Ok(PgConnection::connect(deployment.endpoints.database_url.as_str()).await?)
}

async fn deposit(
    running: &Running,
    entry_point: Address,
    account: Address,
) -> Result<U256, Failure> {
    Ok(running.stack.node().view(entry_point, &balanceOfCall { account }).await?)
}

fn expect(what: &str, found: &str, wanted: &str) -> Result<(), Failure> {
    if found == wanted {
        println!("agreed: {what} {found}");
        Ok(())
    } else {
        Err(format!("the ledgers disagree: {what} {found}, expected {wanted}").into())
    }
}
