//! The report in the making.
//!
//! Owns: [`ReportBuilder`], which tells problems with single objects from those that end the run.

use crate::copy_error::CopyError;
use crate::refusals::Refusals;
use crate::{Error, Report};

/// A report, and what was refused first.
#[derive(Debug, Default)]
pub(crate) struct ReportBuilder {
    pub report: Report,
    refusals: Refusals,
}

impl ReportBuilder {
    /// Adds what went wrong with one object or file. Errors: what ends the run.
    pub fn add(&mut self, name: &str, error: CopyError) -> Result<(), Error> {
        match error {
            CopyError::Fatal(error) => return Err(error),
            CopyError::Item(why) => self.report.failed.add(name, why),
            CopyError::Corrupt(why) => {
                self.report.corrupt += 1;
                self.report.failed.add(name, why);
            }
            CopyError::Changed => self.report.failed.add(name, "it changed while it was copied"),
            CopyError::Denied(error) => {
                self.report.failed.add(name, error.to_string());
                self.refusals.add(error);
                if self.refusals.are_enough() {
                    return self.check_refusals();
                }
            }
        }
        Ok(())
    }

    /// The report. Errors: everything was refused.
    pub fn into_report(mut self) -> Result<Report, Error> {
        self.check_refusals()?;
        Ok(self.report)
    }

    fn check_refusals(&mut self) -> Result<(), Error> {
        let Report { copied: 0, unchanged: 0, failed, .. } = &self.report else { return Ok(()) };
        self.refusals.check_all(failed.count, || "copy, for every object is refused".to_owned())
    }
}
