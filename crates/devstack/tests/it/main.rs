//! The stack keeps its word: real parts come up, the clients that dApps use work on them, and nothing is left behind.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper that cannot do its work must fail the test"
)]

mod clients;
mod entry_points;
mod postgres;
mod processes;
mod tools;

use std::sync::LazyLock;

use devstack::{Stack, StackOptions};
use tokio::{runtime::Runtime, sync::OnceCell};

/// Runs a test on the one stack of this test process. The runtime is shared too, because connections of the stack belong to it.
fn on_stack(test: impl AsyncFnOnce(&'static Stack)) {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    RUNTIME.block_on(async {
        let stack = STACK
            .get_or_try_init(|| async {
                Stack::start(&StackOptions::for_tests(), &|line| eprintln!("{line}")).await
            })
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        test(stack).await;
    });
}
