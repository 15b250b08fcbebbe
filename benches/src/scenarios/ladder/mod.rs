//! `ladder`: what the granularity ladder gains, and whether it chooses well.
//!
//! [`costs`]: what objects cost before anybody writes to them again, with the ladder and without. [`patterns`]: five ways to write, each policy against
//! the fixed choices, page-granular tracking and signals.

mod costs;
mod patterns;
mod writes;

use super::Setting;
use crate::report::Report;
use anyhow::Result;

const OBJECT_BYTES: usize = 64;

/// Measures the scenario.
pub fn run(setting: &Setting) -> Result<Report> {
    let mut report = Report::default();
    costs::measure(setting, &mut report)?;
    patterns::measure(setting, &mut report)?;
    report.note("the tracker, the mapping and the policy of each heap are given; STREWN_TRACKER, STREWN_MAPPING and STREWN_POLICY are not looked at");
    Ok(report)
}
