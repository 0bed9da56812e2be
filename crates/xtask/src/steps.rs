//! Steps with a heading and their time, so that a long run shows where it is.

use std::time::{Duration, Instant};

use crate::Failure;

/// The steps of one run.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<(String, Duration)>,
}

impl Steps {
    /// Runs a step. The first that fails ends the run.
    pub(crate) fn step(
        &mut self,
        name: &str,
        run: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        println!("\n== {name}");
        let start = Instant::now();
        run().map_err(|error| format!("{name}: {error}"))?;
        self.done.push((name.to_owned(), start.elapsed()));
        Ok(())
    }

    /// Prints what was done and how long each step took.
    pub(crate) fn summary(&self) {
        println!("\n== all {} steps passed", self.done.len());
        for (name, time) in &self.done {
            println!("{:>6} s  {name}", time.as_secs());
        }
        let total: Duration = self.done.iter().map(|(_, time)| *time).sum();
        println!("{:>6} s  in all", total.as_secs());
    }
}
