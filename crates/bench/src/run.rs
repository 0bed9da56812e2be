//! One run through all cells.

use domain::ledger::tcc::DbTime;
use rand::RngCore;

use crate::figures::Figures;
use crate::fixture::{self, EMPTY, FILLED};
use crate::load::{self, Client, Load, Plan};
use crate::matrix::{Accounts, BARRED, Cell, Engine, Path, ROUNDS, Tables, Timing, cells};
use crate::report::{Measured, Report};
use crate::server::{Server, at};
use crate::yardstick::{self, Inserter, Plain};
use crate::{Failure, audit, checks, writer};

/// What one may ask of a run.
#[derive(Debug)]
pub(crate) struct Wishes {
    /// Leave the filled tables out.
    pub(crate) quick: bool,
    /// How many reservations the filled tables hold.
    pub(crate) reservations: u64,
    /// Words that a cell must have to be measured.
    pub(crate) only: Vec<String>,
}

/// A run, with the databases that it leaves for the verification.
#[derive(Debug)]
pub(crate) struct Run {
    server: Server,
    wishes: Wishes,
    /// Begins every biz id, so that no run meets the reservations of another.
    name: String,
    issued_at: DbTime,
    settings: Vec<(String, String)>,
    commit_micros: [u64; 2],
    /// How many loads there were.
    loads: u32,
    kept: Vec<String>,
    /// Databases that nobody needs any more, in the order of their loads.
    spent: Vec<String>,
}

/// How many databases are dropped together: dropping one makes a checkpoint, and behind that the log takes whole pages
/// of what is touched for the first time, which on filled tables is most.
const SPENT: usize = 16;

impl Run {
    pub(crate) async fn begin(mut server: Server, wishes: Wishes) -> Result<Self, Failure> {
        let settings = server.settings().await?;
        println!("settings, the same for all rows:");
        for (name, value) in &settings {
            println!("  {name} = {value}");
        }
        let commit_micros = [server.commit_micros(false).await?, server.commit_micros(true).await?];
        let [as_is, delayed] = commit_micros;
        println!("a commit of one row takes {as_is} µs here, {delayed} µs with 1 ms added\n");
        println!("the yardstick's try:\n{}\n", yardstick::TRY.trim());
        println!("the yardstick's confirm:\n{}\n", yardstick::CONFIRM.trim());
        println!("the single-row insert beside it:\n{}\n", yardstick::INSERT);
        println!("funding {} accounts", crate::matrix::ACCOUNTS);
        fixture::make_empty(&mut server).await?;
        let mut connection = checks::connect(&server, "postgres").await?;
        let issued_at = fixture::now(&mut connection).await?;
        let name = format!("{:08x}", rand::rng().next_u32());
        let (loads, kept, spent) = (0, Vec::new(), Vec::new());
        Ok(Self { server, wishes, name, issued_at, settings, commit_micros, loads, kept, spent })
    }

    /// Measures every cell.
    pub(crate) async fn measure(&mut self) -> Result<Report, Failure> {
        let reservations = self.wishes.reservations;
        let mut tables = vec![Tables::Empty];
        if !self.wishes.quick {
            let entries = reservations * fixture::ENTRIES_EACH;
            println!("filling tables with {reservations} reservations, {entries} entries");
            fixture::make_filled(&mut self.server, reservations).await?;
            self.kept.push(FILLED.to_owned());
            tables.push(Tables::Filled);
        }
        let measured = self.measure_on(&tables).await?;
        Ok(Report {
            measured,
            settings: self.settings.clone(),
            commit_micros: self.commit_micros,
            reservations,
        })
    }

    async fn measure_on(&mut self, tables: &[Tables]) -> Result<Vec<Measured>, Failure> {
        let mut cells = cells(tables);
        cells.retain(|cell| cell.has(&self.wishes.only));
        let mut found: Vec<Vec<Figures>> = cells.iter().map(|_| Vec::new()).collect();
        for round in 0..ROUNDS {
            println!("round {} of {ROUNDS}", round + 1);
            for (cell, found) in cells.iter().zip(&mut found) {
                if round < cell.rounds() {
                    found.push(self.load(cell, round + 1 == ROUNDS).await?);
                }
                if self.spent.len() >= SPENT {
                    self.drop_spent().await?;
                }
            }
            self.drop_spent().await?;
        }
        let medians = cells.into_iter().zip(found);
        Ok(medians
            .map(|(cell, found)| Measured { cell, figures: Figures::median(&found) })
            .collect())
    }

    /// Puts one load on a database and checks what it left.
    async fn load(&mut self, cell: &Cell, last_round: bool) -> Result<Figures, Failure> {
        self.loads += 1;
        let database = match cell.tables {
            Tables::Filled => FILLED.to_owned(),
            Tables::Empty => {
                let name = format!("bench_load_{}", self.loads);
                self.server.drop_database(&name).await?;
                self.server.copy_database(EMPTY, &name).await?;
                name
            }
        };
        let before = checks::Totals::read(&self.server, &database).await?;
        self.server.set_delayed(cell.delayed)?;
        let load = self.put(cell, &database).await;
        self.server.set_delayed(false)?;
        let load = load?;
        print_load(cell, &load);
        if cell.engine != Engine::Inserts {
            let before = (load.figures.not_applied == 0).then_some(before);
            checks::look_up(&self.server, &database, cell.path, &load.accepted, before).await?;
        }
        if cell.tables == Tables::Empty {
            if last_round && is_verified(cell) {
                self.kept.push(database);
            } else {
                self.spent.push(database);
            }
        }
        Ok(load.figures)
    }

    async fn drop_spent(&mut self) -> Result<(), Failure> {
        for database in core::mem::take(&mut self.spent) {
            self.server.drop_database(&database).await?;
        }
        Ok(())
    }

    async fn put(&mut self, cell: &Cell, database: &str) -> Result<Load, Failure> {
        let url = at(&self.server.addresses.runtime, database);
        match cell.engine {
            Engine::Writer => {
                let (store, callers) =
                    writer::callers(&url, cell.path, cell.in_flight, self.issued_at)?;
                let load = self.drive(callers, cell, database).await;
                store.close().await;
                load
            }
            Engine::Yardstick => {
                let mut clients = Vec::new();
                for _ in 0..cell.in_flight {
                    clients.push(Plain::connect(&url, cell.path).await?);
                }
                self.drive(clients, cell, database).await
            }
            Engine::Inserts => {
                let mut clients = Vec::new();
                for _ in 0..cell.in_flight {
                    clients.push(Inserter::connect(&url).await?);
                }
                self.drive(clients, cell, database).await
            }
        }
    }

    async fn drive<C: Client>(
        &mut self,
        clients: Vec<C>,
        cell: &Cell,
        database: &str,
    ) -> Result<Load, Failure> {
        let plan = Plan {
            name: format!("{}-{}", self.name, self.loads),
            accounts: cell.accounts,
            timing: Timing::of(cell.tables, self.wishes.quick),
        };
        load::run(clients, &plan, &mut self.server, database).await
    }

    /// Recomputes the books of the databases that were kept, and drops them but for the filled one.
    pub(crate) async fn verify(&mut self) -> Result<(), Failure> {
        for database in core::mem::take(&mut self.kept) {
            audit::verify(&self.server, &database).await?;
            if database != FILLED {
                self.server.drop_database(&database).await?;
            }
        }
        self.server.drop_database(EMPTY).await
    }
}

/// Whether the books of the cell's last database are recomputed at the end: the writer's most crowded loads, and the
/// yardstick's, which must have written the same rows.
fn is_verified(cell: &Cell) -> bool {
    let crowded = match cell.engine {
        Engine::Writer => cell.in_flight == BARRED,
        Engine::Yardstick => cell.in_flight == 16 && cell.accounts == Accounts::Uniform,
        Engine::Inserts => false,
    };
    crowded && cell.path == Path::Pair
}

fn print_load(cell: &Cell, load: &Load) {
    let (path, latency) = (cell.path_name(), if cell.delayed { "+1 ms" } else { "as is" });
    let accounts = match cell.accounts {
        Accounts::Uniform => "uniform",
        Accounts::Hot => "hot",
    };
    let (in_flight, rate) = (cell.in_flight, load.figures.per_second);
    let tables = if cell.tables == Tables::Filled { "filled" } else { "empty" };
    let others = match load.figures.not_applied {
        0 => String::new(),
        others => format!("  ({others} not applied)"),
    };
    println!(
        "  {path:<18} {accounts:<7} {latency} {tables:<6} {in_flight:>5} in flight {rate:>7}/s{others}"
    );
}
