//! `cargo xtask dev`.

use devstack::scripted_node::{Rule, ScriptedNode};
use devstack::service::Endpoints;
use devstack::{Deployment, DeploymentOptions, Stack, StackOptions};

use crate::{Failure, cargo};

/// A running stack with the service on it.
pub(crate) struct Running {
    pub(crate) stack: Stack,
    pub(crate) deployment: Deployment,
    /// What stands between the service and its node, where that is to fail.
    _nodes: Vec<ScriptedNode>,
}

/// One request in so many meets each fault.
const FAULTS_ONE_IN: u32 = 50;

/// Builds the service and starts everything, saying what it does.
pub(crate) async fn start(port_base: Option<u16>, faults: bool) -> Result<Running, Failure> {
    cargo::build_stipend()?;
    let options = StackOptions { port_base, ..StackOptions::default() };
    let stack = Stack::start(&options, &|line: &str| println!("{line}")).await?;
    let nodes = if faults { failing_nodes(&stack).await? } else { Vec::new() };
    let settings = DeploymentOptions {
        nodes: nodes.iter().map(|node| node.url().clone()).collect(),
        ..DeploymentOptions::default()
    };
    let deployment = Deployment::start(&stack, options.service_port(), &settings).await?;
    println!("the service answers");
    let file = Endpoints::path(&stack.tools);
    deployment.endpoints.write(&file)?;
    println!("endpoints are in {}", file.display());
    Ok(Running { stack, deployment, _nodes: nodes })
}

/// Two nodes, as production has them, each of which fails by chance.
async fn failing_nodes(stack: &Stack) -> Result<Vec<ScriptedNode>, Failure> {
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let node = ScriptedNode::start(&stack.chain.rpc_url).await?;
        node.follow(Rule::by_chance(FAULTS_ONE_IN));
        nodes.push(node);
    }
    println!(
        "the service asks two nodes, and each of nine faults meets one request in {FAULTS_ONE_IN}"
    );
    Ok(nodes)
}

impl Running {
    /// Prints the URLs and waits until Ctrl-C, then ends everything.
    pub(crate) async fn stay(self) -> Result<(), Failure> {
        let Endpoints { rpc_url, bundler_url, api_url, paymaster_url, database_url, .. } =
            &self.deployment.endpoints;
        println!(
            "\nnode       {rpc_url}\nbundler    {bundler_url}\nAPI        {api_url}\n\
             paymaster  {paymaster_url}\ndatabase   {database_url}\n\nCtrl-C ends it"
        );
        tokio::signal::ctrl_c().await?;
        println!("\nstopping");
        self.stop().await
    }

    /// Ends everything and takes the endpoints away.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        self.deployment.service.stop().await?;
        let file = Endpoints::path(&self.stack.tools);
        self.stack.stop().await?;
        std::fs::remove_file(file)?;
        Ok(())
    }
}

/// Runs the stack until Ctrl-C.
pub(crate) async fn run(port_base: Option<u16>, faults: bool) -> Result<(), Failure> {
    tokio::select! {
        started = start(port_base, faults) => started?.stay().await,
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}
