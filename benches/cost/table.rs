//! Tables on a terminal.

use std::time::Duration;

pub struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(title: &str, head: &[&str]) -> Self {
        let mut table = Self { title: title.to_owned(), rows: Vec::new() };
        table.row(head);
        table
    }

    pub fn row(&mut self, cells: &[&str]) {
        self.rows.push(cells.iter().map(|cell| (*cell).to_owned()).collect());
    }

    pub fn print(&self) {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            |n: usize| self.rows.iter().filter_map(|row| row.get(n)).map(String::len).max().unwrap_or(0);
        println!("\n{}", self.title);
        for row in &self.rows {
            let cells = (0..columns).map(|n| {
                let cell = row.get(n).map_or("", String::as_str);
                if n == 0 {
                    format!("  {cell:<w$}", w = width(n))
                } else {
                    format!("{cell:>w$}", w = width(n))
                }
            });
            println!("{}", cells.collect::<Vec<_>>().join("  "));
        }
        println!();
    }
}

pub fn milliseconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64() * 1000.0)
}

pub fn kib(bytes: f64) -> String {
    format!("{:.1}", bytes / 1024.0)
}
