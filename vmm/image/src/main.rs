//! Builds or inspects an image in a jail. casemate starts it; there is nothing to call it by hand for.

use std::ffi::OsString;
use std::process::ExitCode;

use image::life;
use image::order::Order;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    match Order::from_args(&args) {
        Some(order) => life::live(&order),
        None => {
            eprintln!("casemate-image: it is started by casemate, not by hand");
            ExitCode::from(2)
        }
    }
}
