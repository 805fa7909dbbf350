"""The admins' page: who has an account here. They are made and changed with `dipper users`."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboards import guard, markup
from dashboards.context import Context
from dashboards.lens import Lens
from dashboards.markup import Cell
from dashboards.people import ACCOUNTS, CUSTOMER
from dashboards.state import Range
from dashboards.viewer import viewing


def accounts_page(lens: Lens, chosen: Range) -> None:
    """All accounts; the range does not matter here."""
    del chosen
    guard.guarded(_draw, lens.words.language)


def _draw(context: Context, lens: Lens) -> None:
    w = lens.words
    viewing(w).require(ACCOUNTS)
    accounts = () if context.accounts is None else context.accounts()
    here = [account for account in accounts if account.removed_at is None]
    openly = sum(account.open for account in here)
    if not here:
        st.html(markup.blank(w("accounts.none"), [w("accounts.do")]))
        return
    st.html(markup.answer(w("accounts.sentence", n=openly), [w("zone", zone=lens.zone_name())]))
    names = {customer.id: customer.name for customer in context.registry.customers()}
    heads = [(w(f"accounts.{column}"), "") for column in ("name", "role", "customer", "state", "since")]
    st.html(f'<div class="d">{markup.table(heads, [_row(account, names, lens) for account in here])}</div>')
    st.html(markup.notice([w("accounts.do")]))


def _row(account: Any, names: dict[str, str], lens: Lens) -> list[Cell]:
    w = lens.words
    customer = names.get(account.customer, account.customer) if account.role == CUSTOMER else ""
    state = w("accounts.open") if account.open else w("accounts.closed", time=lens.clock(account.disabled_at))
    return [
        Cell(account.name),
        Cell(w(f"person.role.{account.role}")),
        Cell(customer),
        Cell(state, css="" if account.open else "muted"),
        Cell(lens.clock(account.created_at)),
    ]
