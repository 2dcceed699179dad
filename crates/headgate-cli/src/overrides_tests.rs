use super::*;

#[test]
fn a_rate_is_n_or_unlimited_or_has_the_limits_own_period() {
    let period = Period::from_millis(3_600_000);
    assert_eq!(parse_rate("1000").unwrap(), (Some(1000), None));
    assert_eq!(parse_rate("unlimited").unwrap(), (None, None));
    assert_eq!(parse_rate("7/hour").unwrap(), (Some(7), period));
    for wrong in ["", "-1", "1000000001", "7/fortnight", "many"] {
        assert!(parse_rate(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_ttl_is_a_period() {
    assert_eq!(parse_ttl("1h").unwrap(), 3_600_000);
    assert_eq!(parse_ttl("90s").unwrap(), 90_000);
    for wrong in ["", "1", "h1", "0s", "400d", "1/s"] {
        assert!(parse_ttl(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn an_override_shows_its_remaining_time() {
    let quota = |until_ms| LiveQuota {
        limit: Some(5),
        until_ms,
    };
    assert_eq!(shown(&quota(None), 1_000), "5");
    assert_eq!(shown(&quota(Some(3_601_000)), 1_000), "5, for another 1 h");
    assert_eq!(shown(&quota(Some(1_000)), 1_000), "5, but it has ended");
}
