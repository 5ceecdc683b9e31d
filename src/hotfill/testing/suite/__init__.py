"""What every store does: `from hotfill.testing.suite import *` makes it tests of a module."""

from hotfill.testing.suite.bad_input import *
from hotfill.testing.suite.concurrency import *
from hotfill.testing.suite.free_length import *
from hotfill.testing.suite.kept import *
from hotfill.testing.suite.moving import *
from hotfill.testing.suite.reopening import *
from hotfill.testing.suite.searching import *
from hotfill.testing.suite.ties import *
from hotfill.testing.suite.upkeep import *
from hotfill.testing.suite.writing import *
