//! Sizes, durations and permissions as people write them: `512M`, `10G`, `5s`, `500ms`, `644`.
//!
//! Owns: [`ByteSize`], [`Period`] and [`Permissions`], used by flags, variables, files and messages alike, so that one spelling
//! works everywhere. Multiples are of 1,024: `K`, `M`, `G`, `T`, with `KiB` and `KB` meaning the same as `K`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ByteSize(pub u64);

/// A length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Period(pub Duration);

/// Permission bits of a file, written in octal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions(pub u16);

/// Why a quantity could not be read; displays what would have been right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuantity {
    /// Not a size.
    #[error("{0:?} is not a size: write a number with an optional K, M, G or T, such as 512M")]
    Size(String),
    /// Not a duration.
    #[error("{0:?} is not a duration: write a number with ms, s, m or h, such as 500ms, 5s or 2m")]
    Period(String),
    /// Not permission bits.
    #[error("{0:?} is not a file's permissions: write them in octal, such as 644")]
    Permissions(String),
    /// Over what 64 bits hold.
    #[error("{0:?} is too large")]
    TooLarge(String),
}

/// Splits `text` into its leading decimal number and its unit, in lower case.
fn split(text: &str) -> (&str, String) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], text[end..].trim().to_ascii_lowercase())
}

impl FromStr for ByteSize {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, unit) = split(text);
        let shift = match unit.as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(InvalidQuantity::Size(text.into())),
        };
        if number.is_empty() {
            return Err(InvalidQuantity::Size(text.into()));
        }
        number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(1 << shift))
            .map(Self)
            .ok_or_else(|| InvalidQuantity::TooLarge(text.into()))
    }
}

impl FromStr for Period {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, unit) = split(text);
        if number.is_empty() {
            return Err(InvalidQuantity::Period(text.into()));
        }
        let count = number.parse::<u64>().map_err(|_| InvalidQuantity::TooLarge(text.into()))?;
        let unit_ms: u64 = match unit.as_str() {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            // Zero is the same in every unit; any other bare number would be a guess.
            "" if count == 0 => 1,
            _ => return Err(InvalidQuantity::Period(text.into())),
        };
        count
            .checked_mul(unit_ms)
            .map(|ms| Self(Duration::from_millis(ms)))
            .ok_or_else(|| InvalidQuantity::TooLarge(text.into()))
    }
}

impl FromStr for Permissions {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match u16::from_str_radix(text, 8) {
            Ok(bits) if bits <= 0o777 && !text.starts_with('+') => Ok(Self(bits)),
            _ => Err(InvalidQuantity::Permissions(text.into())),
        }
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03o}", self.0)
    }
}

/// The shortest exact spelling that reads back as the same value.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, "T"), (30, "G"), (20, "M"), (10, "K")] {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl ByteSize {
    /// Rounded for reading: `1.5 GiB`. Does not read back.
    pub fn human(self) -> String {
        let bytes = self.0 as f64;
        for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
            let unit_bytes = (1_u64 << shift) as f64;
            if bytes >= unit_bytes {
                return format!("{:.1} {unit}", bytes / unit_bytes);
            }
        }
        format!("{} B", self.0)
    }
}

/// The shortest exact spelling that reads back as the same value.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis() {
            0 => f.write_str("0"),
            ms if ms % 3_600_000 == 0 => write!(f, "{}h", ms / 3_600_000),
            ms if ms % 60_000 == 0 => write!(f, "{}m", ms / 60_000),
            ms if ms % 1_000 == 0 => write!(f, "{}s", ms / 1_000),
            ms => write!(f, "{ms}ms"),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

/// Takes a string such as `"10G"` or a plain number of bytes.
impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a size such as \"10G\" or a number of bytes")]
        enum Spelling {
            Bytes(u64),
            Text(String),
        }
        match Spelling::deserialize(deserializer)? {
            Spelling::Bytes(bytes) => Ok(Self(bytes)),
            Spelling::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Permissions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Permissions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("1k", 1024),
            ("512M", 512 << 20),
            ("10G", 10 << 30),
            ("2 GiB", 2 << 30),
            ("3TB", 3 << 40),
            ("7b", 7),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "G", "1.5G", "-1", "10X", "1 0", "0x10"] {
            assert!(matches!(text.parse::<ByteSize>(), Err(InvalidQuantity::Size(_))), "{text}");
        }
        for text in ["99999999999999999999", "99999999T"] {
            assert!(matches!(text.parse::<ByteSize>(), Err(InvalidQuantity::TooLarge(_))), "{text}");
        }
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, ms) in
            [("0", 0), ("0s", 0), ("500ms", 500), ("5s", 5_000), ("5m", 300_000), ("1h", 3_600_000)]
        {
            assert_eq!(text.parse(), Ok(Period(Duration::from_millis(ms))), "{text}");
        }
        for text in ["", "s", "5", "1.5s", "-1s", "5 years"] {
            assert!(matches!(text.parse::<Period>(), Err(InvalidQuantity::Period(_))), "{text}");
        }
    }

    #[test]
    fn permissions_are_octal() {
        for (text, bits) in [("644", 0o644), ("0755", 0o755), ("000", 0), ("7", 7)] {
            assert_eq!(text.parse(), Ok(Permissions(bits)), "{text}");
            assert_eq!(Permissions(bits).to_string().parse(), Ok(Permissions(bits)));
        }
        for text in ["", "888", "7777", "rw", "+644", "-1"] {
            assert!(matches!(text.parse::<Permissions>(), Err(InvalidQuantity::Permissions(_))), "{text}");
        }
    }

    #[test]
    fn what_is_printed_reads_back() {
        for bytes in [0, 1, 1023, 1024, 1536, 256 << 20, 10 << 30, 1 << 40, u64::MAX] {
            assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
        }
        for ms in [0, 1, 999, 1_000, 90_000, 120_000, 3_600_000] {
            let period = Period(Duration::from_millis(ms));
            assert_eq!(period.to_string().parse(), Ok(period));
        }
    }
}
