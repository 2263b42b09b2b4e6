//! The proleptic Gregorian calendar: the one place where days become dates. (The SQL Server double and the
//! oracle of the tests have calendars of their own, since they judge this one.)
//!
//! Years are counted from March, so that the leap day is the last of its year, in eras of 400 years.

/// Days of an era of 400 years.
const ERA_DAYS: i64 = 146_097;
/// Days from 0000-03-01, where an era begins, to 1970-01-01.
const EPOCH: i64 = 719_468;

/// Days from 1970-01-01 to a date; negative before it. A month is 1 to 12.
pub fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let march_month = (month + 9) % 12;
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * ERA_DAYS + day_of_era - EPOCH
}

/// Year, month and day of a number of days since 1970-01-01.
pub fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH;
    let (era, day_of_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_days() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (-1, (1969, 12, 31)),
            (11_016, (2000, 2, 29)),
            (-719_162, (1, 1, 1)),
            (2_932_896, (9999, 12, 31)),
        ] {
            assert_eq!(civil(days), date);
        }
    }

    proptest! {
        #[test]
        fn consecutive_days_are_consecutive_dates(day in -719_162i64..2_932_896) {
            let (y, m, d) = civil(day);
            let next = civil(day + 1);
            let month_ends = next.2 == 1;
            prop_assert_eq!(days_of(y, m, d), day);
            prop_assert!((1..=12).contains(&m) && (1..=31).contains(&d));
            if month_ends {
                prop_assert!(next == (y, m + 1, 1) || (m == 12 && d == 31 && next == (y + 1, 1, 1)));
            } else {
                prop_assert_eq!(next, (y, m, d + 1));
            }
        }
    }
}
