package android.app;

public class Activity extends android.content.Context {
    public static final int RESULT_OK = -1;
    protected void onCreate(android.os.Bundle state) {}
    protected void onDestroy() {}
    protected void onActivityResult(int request, int result, android.content.Intent data) {}
    public void startActivityForResult(android.content.Intent intent, int code) {}
    public void setContentView(android.view.View view) {}
}
