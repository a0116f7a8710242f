"""For `make migration`: the configuration that Tortoise's command line compares the models with."""

from jobs.database.connection import configuration

CONFIGURATION = configuration("sqlite:///dev/null")
