"""How annotations are checked in tests: an int will do for a float, as PEP 484 has it."""

from beartype import BeartypeConf, beartype

checker = beartype(conf=BeartypeConf(is_pep484_tower=True))
