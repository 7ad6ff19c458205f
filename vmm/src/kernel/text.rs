//! The table that `kernel check` prints.

use devices::visible;

use super::report::Report;

/// What the kernel is, a line for each requirement, and the verdict.
pub fn table(report: &Report) -> String {
    let version = report.version.as_deref().unwrap_or("not known");
    let yes = |is: bool| if is { "yes" } else { "none found" };
    let mut text = format!(
        "kernel         {}\nversion        {version}\nconfiguration  {}\nmodules        {}\n\n",
        visible::line(&report.file),
        yes(report.has_config),
        yes(report.has_modules)
    );
    for row in &report.checks {
        let mark = if row.fatal { "!" } else { " " };
        text.push_str(&format!("{mark} {:14} {:18} {}", row.name, row.state, row.needed_for));
        if let Some(remedy) = &row.remedy {
            text.push_str(&format!(" ({remedy})"));
        }
        text.push('\n');
    }
    text + &format!("\n{}\n", report.verdict)
}
