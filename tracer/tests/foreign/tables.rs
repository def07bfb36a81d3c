//! Lines and rows, read by Python's own modules, and by pyarrow on the way to Parquet.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tracer::render::{Format, Renderer};

use crate::samples::{self, outcomes};
use crate::{ask, file, python};

const DOCUMENT: &str = include_str!("../../../docs/export.md");

fn exported(format: Format) -> Vec<u8> {
    let renderer = Renderer::new(format, samples::options(false));
    let mut bytes = samples::whole_run_bytes(renderer, &outcomes::outcomes());
    // Names that would break a table if anything can.
    bytes.extend(samples::transitions(format, false, &samples::oddities()).into_bytes());
    bytes
}

fn rows(name: &str, format: Format) -> Option<Vec<Value>> {
    let python = python()?;
    let rows = ask(&python, "tables.py", &file(name, &exported(format)), &[]);
    serde_json::from_value(rows).unwrap()
}

#[test]
fn jsonl_and_csv_tell_python_the_same() {
    let Some(lines) = rows("tables.jsonl", Format::Jsonl) else {
        return;
    };
    let cells = rows("tables.csv", Format::Csv).unwrap();
    let of_both = |row: &&Value| {
        ["transition", "connection"]
            .iter()
            .any(|kind| row["type"] == *kind)
    };
    let cells: Vec<&Value> = cells.iter().filter(of_both).collect();
    let lines: Vec<&Value> = lines.iter().filter(of_both).collect();
    assert_eq!(lines.len(), cells.len());
    assert!(
        lines.len() > 40,
        "{} are too few to tell anything",
        lines.len()
    );
    for (line, row) in lines.into_iter().zip(cells) {
        for field in [
            "ts",
            "mono_ns",
            "conn",
            "from",
            "to",
            "in_state_ns",
            "pid",
            "verdict",
            "bytes_sent",
        ] {
            let expected = match &line[field] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other
                @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                    other.to_string()
                }
            };
            assert_eq!(row[field], expected, "{field} of {line}");
        }
        assert_eq!(row["remote_addr"], line["remote"]["addr"]);
        // Cells of a longer or shorter row stand under no name.
        let cells = row.as_object().unwrap();
        assert!(cells.values().all(Value::is_string), "{row}");
        assert!(!cells.contains_key("null"), "{row}");
        let comm = row["comm"].as_str().unwrap();
        assert!(!comm.starts_with(['=', '+', '-', '@']), "a formula: {comm}");
    }
}

/// The script of the document, as it stands there.
fn script() -> &'static str {
    let start = DOCUMENT.find("```python\n").unwrap() + "```python\n".len();
    let script = &DOCUMENT[start..];
    &script[..script.find("```").unwrap()]
}

#[test]
fn the_documented_way_to_parquet_keeps_all() {
    let Some(python) = python() else { return };
    let csv = file("parquet.csv", &exported(Format::Csv));
    let parquet = csv.with_extension("parquet");
    run(
        &python,
        &file("to_parquet.py", script().as_bytes()),
        &[&csv, &parquet],
    );
    let look = file(
        "look.py",
        b"import sys, json, pyarrow.parquet as pq
table = pq.read_table(sys.argv[1])
rows = table.select(['type', 'mono_ns', 'conn', 'verdict', 'bytes_received', 'from_birth', 'comm']).to_pylist()
print(json.dumps({'types': {field.name: str(field.type) for field in table.schema}, 'rows': rows}))
",
    );
    let seen: Value = serde_json::from_slice(&run(&python, &look, &[&parquet])).unwrap();
    for (column, kind) in [
        ("ts", "timestamp[us, tz=UTC]"),
        ("mono_ns", "int64"),
        ("in_state_ns", "int64"),
        ("conn", "string"),
        ("pid", "int64"),
        ("bytes_sent", "int64"),
        ("from_birth", "bool"),
        ("verdict", "string"),
    ] {
        assert_eq!(seen["types"][column], kind, "{column}: {}", seen["types"]);
    }
    let rows = seen["rows"].as_array().unwrap();
    let records = String::from_utf8(exported(Format::Csv))
        .unwrap()
        .lines()
        .count()
        - 1;
    assert_eq!(rows.len(), records);
    let first = |row: &&Value| row["type"] == "connection" && row["conn"] == "1";
    let closed = rows.iter().find(first).unwrap();
    assert_eq!(
        closed,
        &json!({"type": "connection", "mono_ns": 1_001_227_306_789_u64, "conn": "1", "verdict": "closed",
                "bytes_received": 5432, "from_birth": true, "comm": "curl"})
    );
}

/// A long table in which `owners` is one number for most of its length.
const LONG: &[u8] = b"import csv, sys
with open(sys.argv[1], newline='') as file:
    reader = csv.DictReader(file)
    row = next(row for row in reader if row['type'] == 'connection')
with open(sys.argv[2], 'w', newline='') as file:
    writer = csv.DictWriter(file, reader.fieldnames, lineterminator='\\n')
    writer.writeheader()
    for index in range(30_000):
        writer.writerow({**row, 'owners': '21367'})
    writer.writerow({**row, 'owners': '21367 21370', 'rtt_us': '12', 'socket_cgroup': '/a'})
";

const LAST: &[u8] = b"import sys, json, pyarrow.parquet as pq
table = pq.read_table(sys.argv[1])
types = {field.name: str(field.type) for field in table.schema}
last = table.slice(table.num_rows - 1).select(['owners', 'sk']).to_pylist()[0]
print(json.dumps([table.num_rows, types['owners'], types['sk'], last['owners']]))
";

#[test]
fn a_late_list_of_owners_stops_no_reader() {
    let Some(python) = python() else { return };
    let short = file("owners_short.csv", &exported(Format::Csv));
    let csv = short.with_file_name("owners.csv");
    run(&python, &file("long.py", LONG), &[&short, &csv]);
    let command = {
        let start = DOCUMENT.find("duckdb -c \"").unwrap() + "duckdb -c \"".len();
        let rest = &DOCUMENT[start..];
        &rest[..rest.find('"').unwrap()]
    };
    let by_duckdb = csv.with_file_name("owners_duckdb.parquet");
    let command = command
        .replace("session.csv", csv.to_str().unwrap())
        .replace("session.parquet", by_duckdb.to_str().unwrap());
    let duckdb = format!("import duckdb\nduckdb.execute(\"{command}\")\n");
    run(&python, &file("duck.py", duckdb.as_bytes()), &[]);
    let by_pyarrow = csv.with_file_name("owners_pyarrow.parquet");
    run(
        &python,
        &file("owners_to_parquet.py", script().as_bytes()),
        &[&csv, &by_pyarrow],
    );
    for parquet in [by_duckdb, by_pyarrow] {
        let said = run(&python, &file("last.py", LAST), &[&parquet]);
        let said: Value = serde_json::from_slice(&said).unwrap();
        assert_eq!(
            said,
            json!([30_001, "string", "string", "21367 21370"]),
            "{}",
            parquet.display()
        );
        let _ = fs::remove_file(parquet);
    }
    let _ = fs::remove_file(csv);
}

fn run(python: &Path, script: &Path, arguments: &[&Path]) -> Vec<u8> {
    let output = Command::new(python)
        .arg(script)
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", script.display());
    let _ = fs::remove_file(script);
    output.stdout
}
