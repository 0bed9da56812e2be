//! The lines of a file of credits.
//!
//! A record is one line of the file: no field may hold a line break, and so a quote that somebody forgot spoils its own
//! line and not the rest of the file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use csv_core::ReadRecordResult;
use service::bulk::{CreditLine, LineRefusal, LineText};

use super::ImportError;

/// The columns that a file must have, in any order.
pub(super) const COLUMNS: [&str; 4] = ["external_id", "amount", "reason", "reference"];
/// Columns that a file may have; an empty field says nothing.
pub(super) const MORE_COLUMNS: [&str; 2] = ["bucket", "expires_at"];
/// Columns that a file of refused lines has as well, so that it can be corrected and imported.
pub(super) const REPORT_COLUMNS: [&str; 3] = ["line", "code", "detail"];

/// The longest line, in bytes: several times what the longest fields need.
const MAX_LINE: u64 = 16 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A line that can be credited.
#[derive(Debug)]
pub(super) struct Row {
    /// From 1, which is the header.
    pub(super) line: u64,
    pub(super) credit: CreditLine,
}

/// What a line says, and its number.
pub(super) type ReadLine = (u64, Result<CreditLine, LineRefusal>);

/// A file, line by line.
pub(super) struct Rows {
    path: PathBuf,
    input: BufReader<File>,
    parser: csv_core::Reader,
    columns: Columns,
    line: u64,
    /// The line, or its beginning where it is too long.
    text: Vec<u8>,
    is_too_long: bool,
}

/// Where a file has its columns.
#[derive(Default)]
struct Columns {
    count: usize,
    /// In the order of [`COLUMNS`].
    places: [usize; COLUMNS.len()],
    /// In the order of [`MORE_COLUMNS`].
    more_places: [Option<usize>; MORE_COLUMNS.len()],
}

impl Rows {
    /// Opens a file and reads its header.
    pub(super) fn open(path: &Path) -> Result<Self, ImportError> {
        let unreadable = |cause| ImportError::Unreadable { path: path.to_owned(), cause };
        let file = File::open(path).map_err(unreadable)?;
        let mut rows = Self {
            path: path.to_owned(),
            input: BufReader::new(file),
            parser: csv_core::Reader::new(),
            columns: Columns::default(),
            line: 0,
            text: Vec::new(),
            is_too_long: false,
        };
        rows.read_line().map_err(unreadable)?;
        if rows.text.starts_with(BYTE_ORDER_MARK) {
            rows.text.drain(..BYTE_ORDER_MARK.len());
        }
        let names = rows.fields().map_err(ImportError::Header)?;
        rows.columns = Columns::named(&names).map_err(ImportError::Header)?;
        Ok(rows)
    }

    /// The next line that is not empty, with its number.
    pub(super) fn next(&mut self) -> Result<Option<ReadLine>, ImportError> {
        loop {
            let read = self.read_line();
            let is_read =
                read.map_err(|cause| ImportError::Unreadable { path: self.path.clone(), cause })?;
            if !is_read {
                return Ok(None);
            }
            if !self.text.trim_ascii().is_empty() {
                let credit = self.fields().map_err(LineRefusal::Invalid);
                let credit = credit.and_then(|fields| self.columns.credit(&fields));
                return Ok(Some((self.line, credit)));
            }
        }
    }

    /// Takes the next line; whether there is one.
    fn read_line(&mut self) -> io::Result<bool> {
        self.text.clear();
        (&mut self.input).take(MAX_LINE).read_until(b'\n', &mut self.text)?;
        if self.text.is_empty() {
            return Ok(false);
        }
        self.line = self.line.saturating_add(1);
        self.is_too_long = false;
        let mut is_whole = self.text.ends_with(b"\n");
        let mut rest = Vec::new();
        while !is_whole {
            rest.clear();
            (&mut self.input).take(MAX_LINE).read_until(b'\n', &mut rest)?;
            is_whole = rest.is_empty() || rest.ends_with(b"\n");
            self.is_too_long |= !rest.is_empty();
        }
        Ok(true)
    }

    fn fields(&mut self) -> Result<Vec<String>, String> {
        if self.is_too_long {
            return Err(format!("the line is longer than {MAX_LINE} bytes"));
        }
        if self.text.trim_ascii().is_empty() {
            return Ok(Vec::new());
        }
        if !self.text.ends_with(b"\n") {
            self.text.push(b'\n');
        }
        let mut output = vec![0; self.text.len()];
        // One more than any file may have, to see that there are too many.
        let mut ends = [0; COLUMNS.len() + MORE_COLUMNS.len() + REPORT_COLUMNS.len() + 1];
        self.parser.reset();
        let (result, _, _, found) = self.parser.read_record(&self.text, &mut output, &mut ends);
        match result {
            ReadRecordResult::Record => {}
            ReadRecordResult::OutputEndsFull => return Err("the line has too many fields".into()),
            ReadRecordResult::InputEmpty | ReadRecordResult::OutputFull | ReadRecordResult::End => {
                return Err("a quote is open at the end of the line".into());
            }
        }
        let mut start = 0;
        let mut fields = Vec::with_capacity(found);
        for end in ends.into_iter().take(found) {
            let field = output.get(start..end).unwrap_or_default();
            let text = core::str::from_utf8(field).map_err(|_| "the line is not UTF-8")?;
            fields.push(text.to_owned());
            start = end;
        }
        Ok(fields)
    }
}

impl Columns {
    fn named(names: &[String]) -> Result<Self, String> {
        let wanted = format!("the header must be {}", COLUMNS.join(","));
        for (place, name) in names.iter().enumerate() {
            if !COLUMNS
                .iter()
                .chain(&MORE_COLUMNS)
                .chain(&REPORT_COLUMNS)
                .any(|column| column == name)
            {
                return Err(format!("the column {name:?} is unknown; {wanted}"));
            }
            if names.iter().take(place).any(|earlier| earlier == name) {
                return Err(format!("the column {name} stands twice; {wanted}"));
            }
        }
        let mut columns = Self { count: names.len(), ..Self::default() };
        for (place, column) in columns.places.iter_mut().zip(COLUMNS) {
            let found = names.iter().position(|name| name == column);
            *place = found.ok_or_else(|| format!("the column {column} is missing; {wanted}"))?;
        }
        columns.more_places =
            MORE_COLUMNS.map(|column| names.iter().position(|name| name == column));
        Ok(columns)
    }

    fn credit(&self, fields: &[String]) -> Result<CreditLine, LineRefusal> {
        if fields.len() != self.count {
            return Err(LineRefusal::Invalid(format!(
                "the line has {} fields, the header {}",
                fields.len(),
                self.count
            )));
        }
        let [external_id, amount, reason, reference] =
            self.places.map(|place| fields.get(place).map_or("", String::as_str));
        let field = |place: usize| fields.get(place).map(String::as_str);
        let [bucket, expires_at] =
            self.more_places.map(|place| place.and_then(field).filter(|text| !text.is_empty()));
        let text = LineText { external_id, amount, reason, reference, bucket, expires_at };
        CreditLine::read(&text)
    }
}
