"""Addresses that no model is fetched from."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelport.storage import guard
from modelport.storage.failure import StorageError

FORMS = {
    "itself": str,
    "mapped into IPv6": lambda address: f"::ffff:{address}",
    "by NAT64": lambda address: str(guard.NAT64[int(address)]),
}


@pytest.mark.parametrize("form", FORMS)
@given(number=st.integers(0, 0xFFFF))
def test_link_local_addresses_are_refused_however_they_are_written(form, number):
    """Whoever may write a storageUri would read the machine's credentials, which clouds hand out at 169.254.169.254."""
    address = ipaddress.ip_network("169.254.0.0/16")[number]
    with pytest.raises(StorageError, match="a link-local or metadata address"):
        guard.refuse_literal(FORMS[form](address))


@pytest.mark.parametrize("address", ["fe80::1", "fe80::1%eth0", "fd00:ec2::254", "100.100.100.200"])
def test_metadata_services_elsewhere_are_refused(address):
    with pytest.raises(StorageError, match="hands out this machine's credentials"):
        guard.refuse_literal(address)


@pytest.mark.parametrize("form", FORMS)
@given(address=st.ip_addresses(v=4))
def test_all_other_addresses_may_hold_models(form, address):
    """A store in a private network, or on this machine, is a store."""
    if not address.is_link_local and address not in guard.METADATA:
        guard.refuse_literal(FORMS[form](address))


def test_names_are_judged_by_what_they_lead_to():
    guard.refuse_literal("models.example.com")
    guard.refuse_metadata("http://localhost:9000/models")
    guard.refuse_metadata("http://nowhere.invalid/models")
    with pytest.raises(StorageError, match="link-local"):
        guard.refuse_metadata("http://[::ffff:169.254.169.254]/latest/meta-data")
