"""A whole interpretation as one HTML file, readable offline, with its pictures inside."""

from jinterp.report.html import writable_folder as writable_folder
from jinterp.report.html import write_report as write_report
from jinterp.report.tables import write_table_report as write_table_report
