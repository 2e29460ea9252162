"""validate.py FILE: whether a bill of materials is as the schema of CycloneDX wants it.

Ends with 3 if it is not.
"""

import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

with open(sys.argv[1], encoding="utf-8") as file:
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(file.read())
if error:
    print(error, file=sys.stderr)
    sys.exit(3)
