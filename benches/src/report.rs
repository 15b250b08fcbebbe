//! What a scenario has to say: tables, notes and headlines; printed for people or as JSON.

use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// The outcome of one scenario.
#[derive(Debug, Default)]
pub struct Report {
    /// What is measured and what is not, and remarks on what was found.
    pub notes: Vec<String>,
    /// The figures.
    pub tables: Vec<Table>,
    /// The figures that promises are made about.
    pub headlines: Vec<Headline>,
}

/// Figures in rows and columns.
#[derive(Debug)]
pub struct Table {
    title: String,
    columns: Vec<&'static str>,
    rows: Vec<Vec<Value>>,
}

/// One figure that a promise is made about, or that is reported because none can be.
#[derive(Debug)]
pub struct Headline {
    /// `scenario.figure`.
    pub name: &'static str,
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What was promised.
    pub promise: Promise,
}

/// What was promised about a headline.
#[derive(Clone, Copy, Debug)]
pub enum Promise {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
    /// Less than this.
    Below(f64),
    /// Nothing; the figure is reported.
    None,
}

/// A float for a table: four significant digits.
pub fn figure(value: f64) -> Value {
    if value == 0.0 || !value.is_finite() {
        return json!(value);
    }
    let digits = 3 - value.abs().log10().floor() as i32;
    let scale = 10f64.powi(digits.abs());
    json!(if digits >= 0 { (value * scale).round() / scale } else { (value / scale).round() * scale })
}

impl Table {
    /// An empty table.
    pub fn new(title: impl Into<String>, columns: &[&'static str]) -> Self {
        Self { title: title.into(), columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, one value a column.
    pub fn row(&mut self, values: impl IntoIterator<Item = Value>) {
        let row: Vec<_> = values.into_iter().collect();
        assert_eq!(row.len(), self.columns.len(), "a row of `{}`", self.title);
        self.rows.push(row);
    }

    fn json(&self) -> Value {
        let object = |row: &Vec<Value>| -> Map<String, Value> {
            self.columns.iter().zip(row).map(|(column, value)| ((*column).to_owned(), value.clone())).collect()
        };
        json!({ "title": self.title, "rows": self.rows.iter().map(object).collect::<Vec<_>>() })
    }

    fn text(&self) -> String {
        let cells: Vec<Vec<_>> = self.rows.iter().map(|row| row.iter().map(cell).collect()).collect();
        let width = |column: usize| {
            let values = cells.iter().map(|row| row[column].len());
            values.chain([self.columns[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..self.columns.len()).map(width).collect();
        let mut text = format!("{}\n", self.title);
        let mut line = |values: &mut dyn Iterator<Item = &str>| {
            for (value, width) in values.zip(&widths) {
                let _ = write!(text, "  {value:>width$}");
            }
            text.push('\n');
        };
        line(&mut self.columns.iter().copied());
        for row in &cells {
            line(&mut row.iter().map(String::as_str));
        }
        text
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string().trim_end_matches(".0").to_owned(),
    }
}

impl Headline {
    /// The line that tools read.
    pub fn line(&self) -> String {
        format!("headline {} {} {}", self.name, cell(&figure(self.value)), self.unit)
    }

    /// Whether the promise was kept, in words.
    fn verdict(&self) -> String {
        let (promise, kept) = match self.promise {
            Promise::AtLeast(bound) => (format!("at least {bound}"), self.value >= bound),
            Promise::AtMost(bound) => (format!("at most {bound}"), self.value <= bound),
            Promise::Below(bound) => (format!("below {bound}"), self.value < bound),
            Promise::None => return "reported".to_owned(),
        };
        format!("promised {promise}: {}", if kept { "kept" } else { "MISSED" })
    }
}

impl Report {
    /// Adds a headline.
    pub fn headline(&mut self, name: &'static str, value: f64, unit: &'static str, promise: Promise) {
        self.headlines.push(Headline { name, value, unit, promise });
    }

    /// Adds a remark.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// For tools.
    pub fn json(&self, scenario: &str, seconds: f64) -> Value {
        let headline =
            |h: &Headline| json!({ "name": h.name, "value": figure(h.value), "unit": h.unit, "verdict": h.verdict() });
        json!({
            "scenario": scenario,
            "seconds": figure(seconds),
            "notes": self.notes,
            "tables": self.tables.iter().map(Table::json).collect::<Vec<_>>(),
            "headlines": self.headlines.iter().map(headline).collect::<Vec<_>>(),
        })
    }

    /// For people; without the headline lines, which come last.
    pub fn text(&self, scenario: &str, seconds: f64) -> String {
        let mut text = format!("== {scenario} ({seconds:.1} s)\n");
        for table in &self.tables {
            let _ = write!(text, "\n{}", table.text());
        }
        if !self.notes.is_empty() {
            text.push('\n');
        }
        for note in &self.notes {
            let _ = writeln!(text, "- {note}");
        }
        for headline in &self.headlines {
            let _ = writeln!(text, "- {}: {}", headline.name, headline.verdict());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_four_digits() {
        let shown = |value| cell(&figure(value));
        assert_eq!(
            [shown(1.234_56), shown(123_456.0), shown(0.012_345_6), shown(0.0)],
            ["1.235", "123500", "0.01235", "0"]
        );
    }

    #[test]
    fn a_headline_is_one_line_and_knows_its_promise() {
        let headline = Headline { name: "a.b", value: 1.4, unit: "ratio", promise: Promise::AtMost(1.35) };
        assert_eq!(headline.line(), "headline a.b 1.4 ratio");
        assert!(headline.verdict().ends_with("MISSED"));
    }
}
