//! YAML files as JSON, after what their schemas have to say (documents.py).

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

/// A document of a file; a file may have several.
#[derive(Deserialize)]
pub struct Document {
    pub file: String,
    pub content: Value,
}

#[derive(Deserialize)]
pub struct Read {
    pub errors: Vec<String>,
    pub documents: Vec<Document>,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Reads files as `kind` (kubernetes or compose).
pub fn read(kind: &str, files: &[PathBuf]) -> Read {
    let home = root().join("tests/deploy");
    let interpreter = home.join(".venv/bin/python");
    assert!(
        interpreter.exists(),
        "the schemas are missing: run `scripts/need deploy` (make test does)"
    );
    let output = Command::new(interpreter)
        .arg(home.join("documents.py"))
        .arg(kind)
        .args(files)
        .output()
        .expect("python starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

/// The text at a path like `/spec/selector`, which must be there.
#[track_caller]
pub fn text<'a>(content: &'a Value, pointer: &str) -> &'a str {
    let value = content.pointer(pointer).and_then(Value::as_str);
    value.unwrap_or_else(|| panic!("no text at {pointer} of {content}"))
}

/// The number at a path, which must be there.
#[track_caller]
pub fn number(content: &Value, pointer: &str) -> u64 {
    let value = content.pointer(pointer).and_then(Value::as_u64);
    value.unwrap_or_else(|| panic!("no number at {pointer} of {content}"))
}

/// The list at a path, which must be there.
#[track_caller]
pub fn list<'a>(content: &'a Value, pointer: &str) -> &'a [Value] {
    let value = content.pointer(pointer).and_then(Value::as_array);
    value.unwrap_or_else(|| panic!("no list at {pointer} of {content}"))
}
