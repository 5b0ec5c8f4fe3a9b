//! Events as an Apache Parquet file, row group by row group while they are read: what is in memory is one row group
//! and, for the footer, some kilobytes about each that is written.
//!
//! The columns are those of the CSV, with nothing for what is not there, the time as a timestamp and numbers as
//! numbers. What a spreadsheet would take for a formula is as it is: nothing that reads Parquet runs cells.

use std::sync::Arc;

use jiff::Timestamp;
use parquet::{
    basic::{Compression, GzipLevel, LogicalType, Repetition, TimeUnit, Type as Physical},
    data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type},
    errors::{ParquetError, Result},
    file::{
        properties::{EnabledStatistics, WriterProperties},
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::types::{ColumnPath, Type, TypePtr},
};

use super::columns::{self, COLUMNS, WHOLE};

/// Bytes of events that make a row group.
const GROUP_BYTES: usize = 8 << 20;
/// Events of a row group, at most.
const GROUP_ROWS: usize = 32_768;
/// Text of this kind becomes hardly smaller beyond it, and takes twice as long.
const LEVEL: u32 = 4;

/// A file that is being written.
pub(super) struct Table {
    writer: SerializedFileWriter<Vec<u8>>,
    /// What the next row group is made of.
    events: Vec<String>,
    bytes: usize,
}

/// How a column is kept.
#[derive(Clone, Copy)]
enum Kept {
    Position,
    Time,
    Number,
    Text,
}

fn kept(column: &str) -> Kept {
    match column {
        "seq" => Kept::Position,
        "time" => Kept::Time,
        "status" => Kept::Number,
        _ => Kept::Text,
    }
}

impl Table {
    pub(super) fn new() -> Result<Self> {
        let whole = || ColumnPath::from(WHOLE);
        let properties = WriterProperties::builder()
            .set_created_by(concat!("portcullis ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::GZIP(GzipLevel::try_new(LEVEL)?))
            .set_statistics_enabled(EnabledStatistics::Chunk)
            // It would be kept in memory until the end, for every page.
            .set_offset_index_disabled(true)
            // No two are the same.
            .set_column_dictionary_enabled(whole(), false)
            .set_column_statistics_enabled(whole(), EnabledStatistics::None)
            .build();
        let writer = SerializedFileWriter::new(Vec::new(), schema()?, Arc::new(properties))?;
        Ok(Self { writer, events: Vec::new(), bytes: 0 })
    }

    pub(super) fn add(&mut self, json: String) {
        self.bytes += json.len();
        self.events.push(json);
    }

    /// Whether there is enough for a row group.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= GROUP_BYTES || self.events.len() >= GROUP_ROWS
    }

    /// Writes what was added as a row group; the bytes that follow those before.
    pub(super) fn group(&mut self) -> Result<Vec<u8>> {
        self.bytes = 0;
        let events = std::mem::take(&mut self.events);
        if !events.is_empty() {
            write_group(self.writer.next_row_group()?, events)?;
        }
        self.taken()
    }

    /// What is left, and the footer; without it the file is none.
    pub(super) fn end(mut self) -> Result<Vec<u8>> {
        let mut rest = self.group()?;
        self.writer.finish()?;
        rest.append(&mut self.taken()?);
        Ok(rest)
    }

    /// INVARIANT: the writer counts what it writes and never looks at it again, so that it may be taken away.
    fn taken(&mut self) -> Result<Vec<u8>> {
        self.writer.flush()?;
        Ok(std::mem::take(self.writer.inner_mut()))
    }
}

fn schema() -> Result<TypePtr> {
    let optional = |name, physical, logical| {
        let column = Type::primitive_type_builder(name, physical);
        column.with_repetition(Repetition::OPTIONAL).with_logical_type(logical).build()
    };
    let required = |name, physical, logical| {
        let column = Type::primitive_type_builder(name, physical);
        column.with_repetition(Repetition::REQUIRED).with_logical_type(logical).build()
    };
    let micros = || Some(LogicalType::timestamp(true, TimeUnit::MICROS));
    let members = COLUMNS.into_iter().map(|name| match kept(name) {
        Kept::Position => required(name, Physical::INT64, None),
        Kept::Time => optional(name, Physical::INT64, micros()),
        Kept::Number => optional(name, Physical::INT32, None),
        Kept::Text => optional(name, Physical::BYTE_ARRAY, Some(LogicalType::String)),
    });
    let whole = required(WHOLE, Physical::BYTE_ARRAY, Some(LogicalType::String));
    let fields: Vec<_> =
        members.chain([whole]).map(|one| one.map(Arc::new)).collect::<Result<_>>()?;
    Ok(Arc::new(Type::group_type_builder("events").with_fields(fields).build()?))
}

fn write_group(
    mut group: SerializedRowGroupWriter<'_, Vec<u8>>,
    events: Vec<String>,
) -> Result<()> {
    let rows = events.iter().map(|json| columns::of(json)).collect::<serde_json::Result<Vec<_>>>();
    let mut cells = COLUMNS.map(|_| Vec::with_capacity(events.len()));
    for row in rows.map_err(|error| ParquetError::External(Box::new(error)))? {
        for (cells, cell) in cells.iter_mut().zip(row) {
            cells.push(cell);
        }
    }
    for (column, cells) in COLUMNS.into_iter().zip(cells) {
        match kept(column) {
            Kept::Position => {
                let seqs: Option<Vec<i64>> =
                    cells.into_iter().map(|seq| seq?.parse().ok()).collect();
                let seqs = seqs.ok_or_else(|| no_value("an event without a position"))?;
                write::<Int64Type>(&mut group, &seqs, None)?;
            }
            Kept::Time => optional::<Int64Type>(&mut group, cells, |text| {
                Some(text.parse::<Timestamp>().ok()?.as_microsecond())
            })?,
            Kept::Number => optional::<Int32Type>(&mut group, cells, |text| text.parse().ok())?,
            Kept::Text => {
                optional::<ByteArrayType>(&mut group, cells, |text| Some(bytes(text)))?;
            }
        }
    }
    let whole: Vec<ByteArray> = events.into_iter().map(bytes).collect();
    write::<ByteArrayType>(&mut group, &whole, None)?;
    group.close()?;
    Ok(())
}

/// The next column, of which some cells have no value.
fn optional<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    cells: Vec<Option<String>>,
    value: impl Fn(String) -> Option<T::T>,
) -> Result<()> {
    let cells: Vec<Option<T::T>> = cells.into_iter().map(|cell| cell.and_then(&value)).collect();
    let levels: Vec<i16> = cells.iter().map(|cell| i16::from(cell.is_some())).collect();
    let values: Vec<T::T> = cells.into_iter().flatten().collect();
    write::<T>(group, &values, Some(&levels))
}

fn write<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> Result<()> {
    let column = group.next_column()?;
    let mut column = column.ok_or_else(|| no_value("a column too many"))?;
    column.typed::<T>().write_batch(values, levels, None)?;
    column.close()
}

fn bytes(text: String) -> ByteArray {
    ByteArray::from(text.into_bytes())
}

fn no_value(what: &str) -> ParquetError {
    ParquetError::General(what.to_owned())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use parquet::{
        file::reader::{FileReader, SerializedFileReader},
        record::RowAccessor,
    };

    use super::*;

    fn event(seq: usize) -> String {
        let path = "x".repeat(2_000);
        format!(
            r#"{{"seq":{seq},"time":"2026-11-22T12:00:00.123456789Z","type":"attempt","status":403,"path":"=/{path}","masked":["pii","pci"]}}"#
        )
    }

    #[test]
    fn what_was_added_is_read_back_row_by_row() {
        let mut table = Table::new().unwrap();
        table.add(event(7));
        table.add(r#"{"seq":8,"status":"none","detail":null}"#.to_owned());
        let reader = SerializedFileReader::new(Bytes::from(table.end().unwrap())).unwrap();
        let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 2);
        let names: Vec<_> = rows[0].get_column_iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, [&COLUMNS[..], &[WHOLE]].concat());
        assert_eq!(rows[0].get_long(0).unwrap(), 7);
        let micros = rows[0].get_timestamp_micros(1).unwrap();
        let time: Timestamp = "2026-11-22T12:00:00.123456Z".parse().unwrap();
        assert_eq!(micros, time.as_microsecond());
        assert_eq!(rows[0].get_int(9).unwrap(), 403);
        assert_eq!(rows[0].get_string(14).unwrap(), "pii pci");
        assert!(rows[0].get_string(18).unwrap().starts_with("=/x"), "no cell is changed");
        assert_eq!(rows[0].get_string(20).unwrap(), &event(7));
        assert!(rows[1].get_int(9).is_err() && rows[1].get_string(19).is_err(), "they are null");
    }

    #[test]
    fn what_is_in_memory_is_one_row_group() {
        let (mut table, mut file, mut groups) = (Table::new().unwrap(), Vec::new(), 0);
        for seq in 0..3 * GROUP_BYTES / 2_000 {
            table.add(event(seq));
            assert!(table.bytes < GROUP_BYTES + 4_096);
            if table.is_full() {
                file.append(&mut table.group().unwrap());
                groups += 1;
                assert!(table.events.is_empty() && table.writer.inner().is_empty());
            }
        }
        file.append(&mut table.end().unwrap());
        let reader = SerializedFileReader::new(Bytes::from(file)).unwrap();
        assert_eq!((groups, reader.num_row_groups()), (3, 4));
        assert_eq!(
            reader.metadata().file_metadata().num_rows(),
            i64::try_from(3 * GROUP_BYTES / 2_000).unwrap()
        );
    }

    #[test]
    fn a_record_without_events_is_a_file_without_rows() {
        let reader = SerializedFileReader::new(Bytes::from(Table::new().unwrap().end().unwrap()));
        assert_eq!(reader.unwrap().metadata().file_metadata().num_rows(), 0);
    }
}
