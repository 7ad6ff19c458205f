//! A casemate worker. The launcher starts it; there is nothing to call it by hand for.

use std::ffi::OsString;
use std::process::ExitCode;

use casemate_worker::plan::Plan;
use casemate_worker::workers;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    match Plan::from_args(&args) {
        Ok(plan) => workers::live(&plan, None),
        Err(error) => {
            eprintln!("casemate-worker: {error}: it is started by casemate, not by hand");
            ExitCode::from(2)
        }
    }
}
