"""The rules, one module for each subject. A new module, or a new function in one, is all that a new rule takes."""
