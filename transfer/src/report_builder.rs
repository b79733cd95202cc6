//! The report in the making.
//!
//! Owns: [`ReportBuilder`], which decides when problems with single objects are a problem of the whole: a store that refuses every one of them refuses the caller.

use crate::copy_error::CopyError;
use crate::{Error, Report};

/// So many refusals, with nothing that was allowed, end the run.
const REFUSALS_MAX: u64 = 100;

/// A report, and what was refused first.
#[derive(Debug, Default)]
pub(crate) struct ReportBuilder {
    pub report: Report,
    refused: Option<Box<pail_store::Error>>,
    refusals: u64,
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
                self.refused.get_or_insert(error);
                self.refusals += 1;
                if self.refusals >= REFUSALS_MAX && self.is_all_refused() {
                    return self.refusal();
                }
            }
        }
        Ok(())
    }

    /// The report. Errors: everything was refused.
    pub fn into_report(mut self) -> Result<Report, Error> {
        if self.is_all_refused() {
            self.refusal()?;
        }
        Ok(self.report)
    }

    fn is_all_refused(&self) -> bool {
        self.report.copied == 0 && self.report.unchanged == 0 && self.refusals == self.report.failed.count
    }

    fn refusal(&mut self) -> Result<(), Error> {
        match self.refused.take() {
            Some(source) => {
                Err(Error::Store { doing: "copy, for every object is refused".to_owned(), source })
            }
            None => Ok(()),
        }
    }
}
