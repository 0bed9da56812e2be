//! What is measured: one cell for each row of the table.

use core::time::Duration;

use serde::Serialize;

/// How many accounts a uniform load is spread over.
pub(crate) const ACCOUNTS: u32 = 100_000;
/// How many commands the writer has in flight.
const IN_FLIGHT: [u32; 5] = [1, 16, 64, 256, 1024];
/// Where the bars of throughput are read.
pub(crate) const BARRED: u32 = 256;
/// The yardstick's connections: the best of these counts.
pub(crate) const CONNECTIONS: [u32; 3] = [8, 16, 64];
/// How often a cell that a bar rests on is measured; the rounds go through all cells in turn, and the median counts.
pub(crate) const ROUNDS: usize = 3;

/// What one operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// A TCC try.
    Reserve,
    /// A TCC try and then the confirm of all of it: two commands, two commits.
    Pair,
}

impl Path {
    /// Each path.
    pub(crate) const ALL: [Self; 2] = [Self::Reserve, Self::Pair];

    pub(crate) const fn commands(self) -> u64 {
        match self {
            Self::Reserve => 1,
            Self::Pair => 2,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Reserve => "reserve",
            Self::Pair => "pair",
        }
    }
}

/// Whose points are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Accounts {
    /// Any of [`ACCOUNTS`], each as likely as the others.
    Uniform,
    /// Always the same.
    Hot,
}

/// Who carries the operations out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// Stipend's store, with its batching writer.
    Writer,
    /// One prepared data-modifying statement per command, which writes the same rows.
    Yardstick,
    /// One event per command into a table like the outbox: what a commit of one row costs.
    Inserts,
}

/// What the tables hold when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tables {
    /// Nothing but the accounts and the credits that funded them.
    Empty,
    /// Years of reservations and entries.
    Filled,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) engine: Engine,
    pub(crate) path: Path,
    pub(crate) accounts: Accounts,
    /// Operations in flight; for all but the writer each has a connection of its own.
    pub(crate) in_flight: u32,
    /// Whether a commit takes a millisecond longer.
    pub(crate) delayed: bool,
    pub(crate) tables: Tables,
}

impl Cell {
    /// Whether a bar rests on it.
    fn is_barred(&self) -> bool {
        match self.engine {
            Engine::Writer => {
                self.in_flight == BARRED
                    || (self.in_flight == 1 && self.accounts == Accounts::Uniform)
            }
            Engine::Yardstick => self.accounts == Accounts::Uniform,
            Engine::Inserts => true,
        }
    }

    pub(crate) fn rounds(&self) -> usize {
        if self.is_barred() { ROUNDS } else { 1 }
    }

    /// Whether the cell has every one of these words, such as `pair`, `hot`, `256` or `delayed`.
    pub(crate) fn has(&self, words: &[String]) -> bool {
        let accounts = match self.accounts {
            Accounts::Uniform => "uniform",
            Accounts::Hot => "hot",
        };
        let latency = if self.delayed { "delayed" } else { "as-is" };
        let engine = match self.engine {
            Engine::Writer => "writer",
            Engine::Yardstick => "yardstick",
            Engine::Inserts => "inserts",
        };
        let in_flight = self.in_flight.to_string();
        let all = [engine, self.path.as_str(), accounts, latency, in_flight.as_str()];
        words.iter().all(|word| all.contains(&word.as_str()))
    }

    /// The cell's name in the table.
    pub(crate) fn path_name(&self) -> String {
        let path = self.path.as_str();
        match self.engine {
            Engine::Writer => path.to_owned(),
            Engine::Yardstick => format!("yardstick-{path}"),
            Engine::Inserts => "single-row inserts".to_owned(),
        }
    }
}

/// How long one measurement takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

impl Timing {
    pub(crate) const fn of(tables: Tables, quick: bool) -> Self {
        let (warm_up, measured) = match (tables, quick) {
            (Tables::Empty, true) => (500, 1_500),
            (Tables::Empty, false) => (1_000, 4_000),
            // So long that most of what uniform loads touch has been touched since the last checkpoint.
            (Tables::Filled, _) => (6_000, 4_000),
        };
        Self { warm_up: Duration::from_millis(warm_up), measured: Duration::from_millis(measured) }
    }
}

/// Every cell on such tables. What a bar compares is measured side by side, because the machine has good minutes and bad.
pub(crate) fn cells(tables: &[Tables]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for path in Path::ALL {
        for delayed in [false, true] {
            for cell in cells_of_a_path(path, delayed, tables) {
                if !cells.contains(&cell) {
                    cells.push(cell);
                }
            }
        }
    }
    cells
}

/// The cells of one path on a disk, those first that bars rest on; some come twice.
fn cells_of_a_path(path: Path, delayed: bool, tables: &[Tables]) -> Vec<Cell> {
    let on = |tables, engine, accounts, in_flight| Cell {
        engine,
        path,
        accounts,
        in_flight,
        delayed,
        tables,
    };
    let mut cells = Vec::new();
    for &tables in tables {
        cells.push(on(tables, Engine::Yardstick, Accounts::Uniform, 1));
        cells.push(on(tables, Engine::Writer, Accounts::Uniform, 1));
    }
    if path == Path::Reserve && tables.contains(&Tables::Empty) {
        cells.extend(
            CONNECTIONS.map(|width| on(Tables::Empty, Engine::Inserts, Accounts::Uniform, width)),
        );
    }
    for width in CONNECTIONS {
        cells.extend(
            tables.iter().map(|&tables| on(tables, Engine::Yardstick, Accounts::Uniform, width)),
        );
    }
    for accounts in [Accounts::Uniform, Accounts::Hot] {
        cells.extend(tables.iter().map(|&tables| on(tables, Engine::Writer, accounts, BARRED)));
    }
    for &tables in tables {
        cells.extend(CONNECTIONS.map(|width| on(tables, Engine::Yardstick, Accounts::Hot, width)));
        for accounts in [Accounts::Uniform, Accounts::Hot] {
            cells.extend(IN_FLIGHT.map(|width| on(tables, Engine::Writer, accounts, width)));
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_run_has_time_for_what_its_bars_rest_on() {
        let cells = cells(&[Tables::Empty]);
        let timing = Timing::of(Tables::Empty, true);
        let measurements: usize = cells.iter().map(Cell::rounds).sum();
        let each = timing.warm_up + timing.measured + Duration::from_millis(1_500);
        let total = each * u32::try_from(measurements).unwrap();
        assert!(total < Duration::from_secs(540), "{measurements} measurements, {total:?}");
    }

    #[test]
    fn the_writer_is_measured_in_every_combination_that_the_table_promises() {
        for tables in [&[Tables::Empty][..], &[Tables::Empty, Tables::Filled]] {
            let cells = cells(tables);
            let writer = cells.iter().filter(|cell| cell.engine == Engine::Writer).count();
            assert_eq!(writer, IN_FLIGHT.len() * 2 * 2 * 2 * tables.len());
        }
    }
}
