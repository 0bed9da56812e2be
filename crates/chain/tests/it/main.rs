//! Nodes and bundlers on real parts: anvil, the EntryPoints, our paymaster, Alto. Only the endpoints that misbehave are
//! made here.
#![cfg(test)]

mod bundler;
mod failover;
mod faulty;
mod finality;
mod lies;
mod logs;
mod node;
mod scripted;
mod transactions;

use std::time::Duration;

use chain::node::Node;
use devstack::anvil::{Anvil, Options};
use devstack::{Run, Tools};
use url::Url;

const CHAIN_ID: u64 = 31_337;

/// Far more than a local call takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// A development node of the test's own, whose blocks come only when asked for.
struct Chain {
    tools: Tools,
    run: Run,
    anvil: Anvil,
}

impl Chain {
    async fn start() -> Self {
        let tools = Tools::find().expect("run `npm ci --ignore-scripts` first");
        let run = Run::begin(&tools).unwrap();
        let options = Options {
            chain_id: CHAIN_ID,
            slots_in_an_epoch: 2,
            block_time_seconds: 3600,
            port: None,
            log: run.log("anvil"),
        };
        let anvil = Anvil::start(&tools, &options).await.unwrap();
        Self { tools, run, anvil }
    }

    fn url(&self) -> Url {
        self.dev().url().clone()
    }

    /// The side of the development node that makes things happen.
    fn dev(&self) -> &devstack::anvil::Node {
        self.anvil.node()
    }

    /// The side under test.
    fn node(&self) -> Node {
        Node::connect(&[self.url()], DEADLINE).unwrap()
    }

    async fn mine(&self, blocks: u64) {
        let _nothing: Option<()> = self.dev().request("anvil_mine", [blocks]).await.unwrap();
    }
}
