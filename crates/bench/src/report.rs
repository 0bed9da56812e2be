//! The table, the JSON and the bars.

use std::fs;
use std::path::Path as FilePath;

use serde::Serialize;
use serde_json::json;

use crate::Failure;
use crate::figures::{Figures, Thousandths};
use crate::matrix::{Accounts, BARRED, CONNECTIONS, Cell, Engine, Path, Tables};

/// A cell with the medians of its rounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) cell: Cell,
    pub(crate) figures: Figures,
}

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) measured: Vec<Measured>,
    pub(crate) settings: Vec<(String, String)>,
    /// What half of the commits of one row take, as the disk is and with the added latency, in microseconds.
    pub(crate) commit_micros: [u64; 2],
    /// How many reservations the filled tables hold.
    pub(crate) reservations: u64,
}

/// A row of the JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonRow {
    path: String,
    accounts: Accounts,
    in_flight: u32,
    added_commit_ms: u32,
    table_rows: u64,
    per_second: u64,
    p50_ms: Thousandths,
    p99_ms: Thousandths,
    ratio: Thousandths,
    postgres_cpu_micros: Thousandths,
    wal_bytes: u64,
    disk_bytes: u64,
    not_applied: u64,
}

/// A bar: what must not be missed.
#[derive(Debug)]
pub(crate) struct Bar {
    what: String,
    found: Thousandths,
    wanted: Thousandths,
    /// Whether the found value must not exceed the wanted one, rather than reach it.
    is_ceiling: bool,
}

impl Bar {
    pub(crate) fn holds(&self) -> bool {
        if self.is_ceiling { self.found <= self.wanted } else { self.found >= self.wanted }
    }
}

/// The yardstick must reach this share of the single-row inserts, or it is no honest yardstick.
const YARDSTICK_FLOOR: Thousandths = Thousandths(300);

impl Report {
    fn find(&self, cell: Cell) -> Option<&Figures> {
        self.measured.iter().find(|found| found.cell == cell).map(|found| &found.figures)
    }

    /// The quickest of the connection counts, under a load like the cell's.
    fn best(&self, engine: Engine, like: Cell) -> u64 {
        let rates = CONNECTIONS.map(|in_flight| {
            self.find(Cell { engine, in_flight, ..like }).map_or(0, |figures| figures.per_second)
        });
        rates.into_iter().max().unwrap_or_default()
    }

    fn row(&self, measured: &Measured) -> JsonRow {
        let Measured { cell, figures } = measured;
        JsonRow {
            path: cell.path_name(),
            accounts: cell.accounts,
            in_flight: cell.in_flight,
            added_commit_ms: u32::from(cell.delayed),
            table_rows: match cell.tables {
                Tables::Empty => 0,
                Tables::Filled => self.reservations,
            },
            per_second: figures.per_second,
            p50_ms: Thousandths(figures.p50_micros),
            p99_ms: Thousandths(figures.p99_micros),
            ratio: Thousandths::ratio(figures.per_second, self.best(Engine::Yardstick, *cell)),
            postgres_cpu_micros: Thousandths(figures.cpu_nanos),
            wal_bytes: figures.wal_bytes,
            disk_bytes: figures.disk_bytes,
            not_applied: figures.not_applied,
        }
    }

    /// Prints the table.
    pub(crate) fn print(&self) {
        println!("\n{HEADING}");
        self.measured.iter().for_each(|measured| print_row(&self.row(measured)));
    }

    /// Writes the JSON.
    pub(crate) fn write(&self, output: &FilePath) -> Result<(), Failure> {
        let (inserts, rows): (Vec<_>, Vec<_>) =
            self.measured.iter().partition(|found| found.cell.engine == Engine::Inserts);
        let rows: Vec<_> = rows.into_iter().map(|found| self.row(found)).collect();
        let insert = |found| {
            let row = self.row(found);
            json!({
                "connections": row.in_flight,
                "addedCommitMs": row.added_commit_ms,
                "perSecond": row.per_second,
            })
        };
        let inserts: Vec<_> = inserts.into_iter().map(insert).collect();
        let bar = |bar: &Bar| {
            json!({
                "bar": bar.what,
                "found": bar.found,
                "wanted": bar.wanted,
                "pass": bar.holds(),
            })
        };
        let bars: Vec<_> = self.bars().iter().map(bar).collect();
        let settings: serde_json::Map<_, _> = self
            .settings
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().into()))
            .collect();
        let [as_is, delayed] = self.commit_micros;
        let report = json!({
            "rows": rows,
            "singleRowInserts": inserts,
            "commitMicros": { "asIs": as_is, "delayed": delayed },
            "settings": settings,
            "bars": bars,
        });
        if let Some(folder) = output.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(output, serde_json::to_string_pretty(&report)?)?;
        Ok(())
    }

    /// Whether the yardstick is worth its name, for each path, on the disk as it is: with a latency both wait for the disk.
    pub(crate) fn yardstick_shares(&self) -> Vec<Bar> {
        let share = |path: Path| {
            let cell = uniform(Engine::Yardstick, path, false, Tables::Empty);
            let commands = self.best(Engine::Yardstick, cell) * path.commands();
            let inserts = self.best(Engine::Inserts, Cell { path: Path::Reserve, ..cell });
            Bar {
                what: format!("yardstick's commands to single-row inserts, {}", path.as_str()),
                found: Thousandths::ratio(commands, inserts),
                wanted: YARDSTICK_FLOOR,
                is_ceiling: false,
            }
        };
        Path::ALL.map(share).into()
    }

    /// How each load compares with its yardstick, or with its like.
    pub(crate) fn bars(&self) -> Vec<Bar> {
        let mut bars = Vec::new();
        for path in Path::ALL {
            for delayed in [false, true] {
                bars.extend(self.bars_of(path, delayed));
            }
        }
        bars
    }

    fn bars_of(&self, path: Path, delayed: bool) -> Vec<Bar> {
        let name = |what: &str| format!("{}{}: {what}", path.as_str(), latency(delayed));
        let rate = |cell| self.find(cell).map_or(0, |figures| figures.per_second);
        let p50 = |cell| self.find(cell).map_or(0, |figures| figures.p50_micros);
        let writer = uniform(Engine::Writer, path, delayed, Tables::Empty);
        let hot = Cell { accounts: Accounts::Hot, ..writer };
        let lone = Cell { in_flight: 1, ..writer };
        let not_applied = |cell| self.find(cell).map_or(0, |figures| figures.not_applied);
        let not_applied: u64 = [writer, hot, lone].map(not_applied).into_iter().sum();
        let mut bars = vec![
            Bar {
                what: name("256 in flight to the yardstick"),
                found: Thousandths::ratio(rate(writer), self.best(Engine::Yardstick, writer)),
                wanted: Thousandths(if delayed { 6_000 } else { 1_800 }),
                is_ceiling: false,
            },
            Bar {
                what: name("one hot account to uniform"),
                found: Thousandths::ratio(rate(hot), rate(writer)),
                wanted: Thousandths(900),
                is_ceiling: false,
            },
            Bar {
                what: name("p50 of one in flight to the yardstick's"),
                found: Thousandths::ratio(
                    p50(lone),
                    p50(Cell { engine: Engine::Yardstick, ..lone }),
                ),
                wanted: Thousandths(1_500),
                is_ceiling: true,
            },
            Bar {
                what: name("commands that were not applied"),
                found: Thousandths::ratio(not_applied, 1),
                wanted: Thousandths(0),
                is_ceiling: true,
            },
        ];
        for (like, what) in [(writer, "filled tables to empty"), (hot, "the same, hot")] {
            let filled = Cell { tables: Tables::Filled, ..like };
            if self.find(filled).is_some() {
                bars.push(Bar {
                    what: name(what),
                    found: Thousandths::ratio(rate(filled), rate(like)),
                    wanted: Thousandths(900),
                    is_ceiling: false,
                });
            }
        }
        bars
    }
}

const fn uniform(engine: Engine, path: Path, delayed: bool, tables: Tables) -> Cell {
    Cell { engine, path, accounts: Accounts::Uniform, in_flight: BARRED, delayed, tables }
}

const fn latency(delayed: bool) -> &'static str {
    if delayed { " with 1 ms" } else { "" }
}

/// Prints bars, and says how many do not hold.
pub(crate) fn print_bars(bars: &[Bar]) -> usize {
    for bar in bars {
        let verdict = if bar.holds() { "PASS" } else { "FAIL" };
        let relation = if bar.is_ceiling { "at most" } else { "at least" };
        println!("{verdict}  {:>8}  {relation} {}  {}", bar.found, bar.wanted, bar.what);
    }
    bars.iter().filter(|bar| !bar.holds()).count()
}

const HEADING: &str = "\
path               accounts  table rows  added  in flight  per second   p50 ms    p99 ms   CPU µs   WAL B  disk B  ratio  not applied
";

fn print_row(row: &JsonRow) {
    let accounts = match row.accounts {
        Accounts::Uniform => "uniform",
        Accounts::Hot => "hot",
    };
    let JsonRow { path, in_flight, table_rows, per_second, p50_ms, p99_ms, .. } = row;
    let (added, cpu) = (format!("{} ms", row.added_commit_ms), row.postgres_cpu_micros);
    println!(
        "{path:<18} {accounts:<8}  {table_rows:>10}  {added:>5}  {in_flight:>9}  {per_second:>10}  \
         {p50_ms:>7}  {p99_ms:>8}  {cpu:>7}  {:>6}  {:>6}  {:>5}  {:>11}",
        row.wal_bytes, row.disk_bytes, row.ratio, row.not_applied
    );
}
