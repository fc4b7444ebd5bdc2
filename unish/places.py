"""Names of the files in a result's folder."""

RESULT_PAGE = "viewer.html"
RESULT_REPORT = "report.json"
RESULT_EXPORTS = "exports"
