"""All machines under the laws, by name."""

from __future__ import annotations

from laws import beside, chats, events, framings, peers, tagged, texts

__all__ = ["MACHINES"]

_MODULES = (events, texts, framings, beside, peers, tagged, chats)
MACHINES = {subject.name: subject for module in _MODULES for subject in module.SUBJECTS}
