//! `cargo xtask dev`.

use devstack::service::Endpoints;
use devstack::{Deployment, DeploymentOptions, Stack, StackOptions};

use crate::{Failure, cargo};

/// A running stack with the service on it.
pub(crate) struct Running {
    pub(crate) stack: Stack,
    pub(crate) deployment: Deployment,
}

/// Builds the service and starts everything, saying what it does.
pub(crate) async fn start(port_base: Option<u16>) -> Result<Running, Failure> {
    cargo::build_stipend()?;
    let options = StackOptions { port_base, ..StackOptions::default() };
    let stack = Stack::start(&options, &|line: &str| println!("{line}")).await?;
    let settings = DeploymentOptions::default();
    let deployment = Deployment::start(&stack, options.service_port(), &settings).await?;
    println!("the service answers");
    let file = Endpoints::path(&stack.tools);
    deployment.endpoints.write(&file)?;
    println!("endpoints are in {}", file.display());
    Ok(Running { stack, deployment })
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
pub(crate) async fn run(port_base: Option<u16>) -> Result<(), Failure> {
    tokio::select! {
        started = start(port_base) => started?.stay().await,
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}
