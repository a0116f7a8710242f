"""How long names may be, in characters."""

NAME_LENGTH = 63
SUBJECT_LENGTH = 200
ACTION_LENGTH = 63
TARGET_LENGTH = 255
