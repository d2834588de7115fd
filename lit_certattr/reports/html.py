"""stub while building"""
def write_report(directory, ids, max_panels=16):
    pass
