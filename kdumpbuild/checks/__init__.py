"""The preflight: one rule per known way in which kdump fails."""
