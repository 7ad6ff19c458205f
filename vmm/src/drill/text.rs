//! The report as text.

use std::fmt::Write;

use clap::builder::styling::{AnsiColor, Style};
use prober::catalogue::{TECHNIQUES, Technique};
use worker::jail::layers::Layer;

use super::matrix::{Matrix, Row, columns};
use super::probe::Cell;

const BOLD: Style = Style::new().bold();

/// The techniques and what they do.
pub fn list() -> String {
    let lines =
        TECHNIQUES.iter().map(|technique| format!("{:20}  {}\n", technique.id, technique.what));
    lines.collect()
}

/// The same as a JSON array.
pub fn list_json() -> serde_json::Result<String> {
    let row = |technique: &Technique| serde_json::json!({ "technique": technique.id, "what": technique.what });
    let rows: Vec<serde_json::Value> = TECHNIQUES.iter().map(row).collect();
    Ok(serde_json::to_string_pretty(&rows)? + "\n")
}

const LEGEND: &str = "\
A layer's column: `x` this layer alone stops the technique, `!` without it the technique gets through.
host: what comes of it without any layer. Behind it, what stops it with all.
";

/// The whole report.
pub fn report(workers: &[Matrix], no_cgroup: Option<&str>) -> Result<String, std::fmt::Error> {
    let mut text = LEGEND.to_owned();
    if let Some(reason) = no_cgroup {
        writeln!(text, "No control group: {reason}")?;
    }
    for matrix in workers {
        writeln!(text)?;
        table(&mut text, matrix)?;
    }
    writeln!(text)?;
    summary(&mut text, workers)?;
    Ok(text)
}

/// A layer's name on two columns.
fn short(layer: Layer) -> &'static str {
    match layer {
        Layer::UserNs => "us",
        Layer::Root => "ro",
        Layer::PidNs => "pi",
        Layer::NetNs => "ne",
        Layer::IpcNs => "ip",
        Layer::UtsNs => "ut",
        Layer::CgroupNs => "cn",
        Layer::Cgroup => "cg",
        Layer::CoreSched => "cs",
        Layer::Descriptors => "de",
        Layer::Limits => "li",
        Layer::Capabilities => "ca",
        Layer::NoNewPrivs => "nn",
        Layer::Landlock => "la",
        Layer::Seccomp => "se",
    }
}

fn table(text: &mut String, matrix: &Matrix) -> std::fmt::Result {
    let heads: Vec<&str> = columns().map(short).collect();
    writeln!(
        text,
        "{BOLD}{:20}  {:10}  {}  with all layers{BOLD:#}",
        matrix.worker,
        "host",
        heads.join(" ")
    )?;
    let mut group = "";
    for row in &matrix.techniques {
        if row.group != group {
            group = row.group;
            writeln!(text, "{group}")?;
        }
        line(text, row)?;
    }
    Ok(())
}

fn line(text: &mut String, row: &Row) -> std::fmt::Result {
    let cells: Vec<String> = columns().map(|layer| marks(row, layer.name())).collect();
    let style = match () {
        () if row.is_breach() => AnsiColor::Red.on_default().bold(),
        () if row.all == Cell::Through => AnsiColor::Yellow.on_default(),
        () => Style::new(),
    };
    let why = row.documented.map(|why| format!(" ({why})")).unwrap_or_default();
    writeln!(
        text,
        "  {:18}  {:10}  {}  {style}{}{why}{style:#}",
        row.id,
        row.host.words().chars().take(10).collect::<String>(),
        cells.join(" "),
        row.all.words()
    )
}

fn marks(row: &Row, layer: &str) -> String {
    let alone = match row.alone.get(layer) {
        Some(cell) if cell.is_stopped() => 'x',
        Some(Cell::NotTried { .. }) => '?',
        Some(_) => '.',
        None => ' ',
    };
    let without = match row.without.get(layer) {
        Some(Cell::Through) if row.all.is_stopped() => '!',
        Some(Cell::NotTried { .. }) => '?',
        _ => ' ',
    };
    format!("{alone}{without}")
}

/// What each layer does, over all workers: a table that is Markdown too.
fn summary(text: &mut String, workers: &[Matrix]) -> std::fmt::Result {
    let rows = || workers.iter().flat_map(|matrix| &matrix.techniques);
    let possible = rows().filter(|row| row.host == Cell::Through).count();
    let through =
        rows().filter(|row| row.host == Cell::Through && row.all == Cell::Through).count();
    writeln!(text, "| layers | techniques stopped | get through when only it is missing |")?;
    writeln!(text, "|---|---|---|")?;
    for layer in columns().map(Layer::name) {
        let tried = rows().filter(|row| row.alone.contains_key(layer)).count();
        if tried == 0 {
            continue;
        }
        let stops = rows().filter(|row| row.alone.get(layer).is_some_and(Cell::is_stopped)).count();
        let open = rows()
            .filter(|row| row.all.is_stopped() && row.without.get(layer) == Some(&Cell::Through))
            .count();
        writeln!(text, "| {layer} alone | {stops} of {tried} | {open} |")?;
    }
    writeln!(text, "| all | {} of {possible} | |", possible - through)?;
    writeln!(text)?;
    for matrix in workers {
        let breaches: Vec<&str> =
            matrix.techniques.iter().filter(|row| row.is_breach()).map(|row| row.id).collect();
        let open = if breaches.is_empty() {
            "nothing gets through but what is documented".to_owned()
        } else {
            format!("GETS THROUGH: {}", breaches.join(", "))
        };
        let calls = &matrix.calls;
        let filter = match &calls.mismatch {
            None => "the filter is what its table says".to_owned(),
            Some(call) => format!("THE FILTER DIFFERS FROM ITS TABLE: {call}"),
        };
        writeln!(
            text,
            "{}: {open}; {} system calls allowed, {} tried: {filter}",
            matrix.worker, calls.allowed, calls.tried
        )?;
    }
    Ok(())
}
