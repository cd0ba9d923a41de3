"""A whole interpretation as one page."""

from jinterp.report.classification import NO_EVIDENCE as NO_EVIDENCE
from jinterp.report.classification import MapEvidence as MapEvidence
from jinterp.report.classification import write_report as write_report
from jinterp.report.page import writable_folder as writable_folder
from jinterp.report.page import write_page as write_page
from jinterp.report.segmentation import write_segmentation_report as write_segmentation_report
from jinterp.report.tables import write_table_report as write_table_report
